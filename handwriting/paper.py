"""What is written, on paper: smooth lines as SVG, PNG and GIF.

Writing itself is left to `synthesis.py`, pixels and SVG to `softraster`.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting._extras import require
from handwriting.files import write_atomically
from handwriting.synthesis import NEATNESS, write

INK = 0.075  # width of the line, in heights of a digit
MARGIN = 0.4  # in heights of a digit
_PIECES = 4  # segments between two points, where curves are cut
_SHADES = 16
_FRAME_MS = 30
_LAST_MS = 1500
_MAX_FRAMES = 240


@dataclass(frozen=True)
class WriteConfig:
    """Options of writing a number to files.

    Attributes:
        text, method, style, neatness, seed: as in `synthesis.write`.
        out: the SVG file.
        png, gif: whether to write these too, beside it.
        height: of a digit, px.
    """

    text: str
    out: Path = Path("number.svg")
    png: bool = False
    gif: bool = False
    method: str = "network"
    style: int | None = None
    neatness: float = NEATNESS
    seed: int = 0
    height: int = 96

    def __post_init__(self) -> None:
        if self.out.suffix.lower() != ".svg":
            raise ValueError(f"out must be the name of a .svg file, got {self.out}")
        if self.height < 1:
            raise ValueError(f"height must be at least 1, got {self.height}")


def write_files(config: WriteConfig) -> list[Path]:
    """Write a number, and put it into files.

    Returns:
        The paths of the files. They are printed, too.

    Raises:
        TypeError, ValueError: as `synthesis.write`.
        OSError: a file cannot be written.
        ImportError: a PNG or GIF is wanted, and Pillow is not installed.
    """
    options = {name: getattr(config, name) for name in ("method", "style", "neatness", "seed")}
    drawing = draw_paper(write(config.text, **options), config.height)
    files = {config.out: softraster.to_svg(drawing).encode()}
    for suffix, wanted, draw in ((".png", config.png, to_png), (".gif", config.gif, to_gif)):
        if wanted:
            files[config.out.with_suffix(suffix)] = draw(drawing)
    for path, content in files.items():
        write_atomically(path, content)
        print(path)
    return list(files)


def draw_paper(strokes: np.ndarray, height: int = 96) -> softraster.Drawing:
    """Put strokes on a sheet that fits them, black on white.

    Args:
        strokes: (P, 3) x, y, lifted, in heights of a digit, from `handwriting.write`.
        height: of a digit, px.

    Returns:
        A drawing of Catmull-Rom curves through the points; `softraster.write_svg` writes it.

    Raises:
        ValueError: height is under 1, or there are no strokes.
    """
    if height < 1:
        raise ValueError(f"height must be at least 1, got {height}")
    if not len(strokes):
        raise ValueError("strokes must have at least one point, got none")
    points = torch.from_numpy(np.ascontiguousarray(strokes[:, :2])).double()
    # Always room for a digit, so that rows of several strings are alike.
    low = torch.minimum(points.amin(0), torch.tensor([0.0, -1.0])) - MARGIN
    high = torch.maximum(points.amax(0), torch.tensor([0.0, 0.0])) + MARGIN
    wide, tall = (math.ceil(height * side - 1e-6) for side in (high - low).tolist())
    side = max(wide, tall)
    lines = lines_of(strokes)
    curves = [_curve((torch.from_numpy(line) - low) * height / side) for line in lines]
    width = INK * height / side
    return softraster.Drawing.of(torch.cat(curves).float(), (tall, wide), width=width)


def lines_of(strokes: np.ndarray) -> list[np.ndarray]:
    """The pen-down lines of (P, 3) strokes, each (Q, 2) float64; Q is 1 for a dot."""
    ends = np.flatnonzero(strokes[:-1, 2] > 0.5) + 1
    return np.split(strokes[:, :2].astype(np.float64), ends)


def smooth(strokes: np.ndarray, pieces: int = _PIECES) -> np.ndarray:
    """The curves of `draw_paper` as (Q, 3) strokes of so many segments between two points."""
    parts = []
    for line in lines_of(strokes):
        cut = softraster.catmull_rom(torch.from_numpy(line), samples=pieces).numpy()
        points = np.concatenate((line[:1], cut[:, 2:]))
        lifted = np.arange(len(points)) == len(points) - 1
        parts.append(np.column_stack((points, lifted)))
    return np.concatenate(parts)


def to_png(drawing: softraster.Drawing) -> bytes:
    """A drawing of black ink as a PNG file.

    Raises:
        ImportError: Pillow is not installed.
    """
    ink = softraster.draw_curves(
        drawing.curves,
        6.0 * max(drawing.size),
        drawing.size,
        width=drawing.width,
        coverage="capsule",
        composite="max",
    )
    file = io.BytesIO()
    image = require("PIL.Image").fromarray((255 * (1 - ink)).round().to(torch.uint8).numpy())
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def to_gif(drawing: softraster.Drawing) -> bytes:
    """A drawing of black ink as a GIF file that shows it being written, for ever repeated.

    Raises:
        ImportError: Pillow is not installed.
    """
    side = max(drawing.size)
    step = math.ceil(len(drawing.curves) / _MAX_FRAMES)
    palette = [round(255 * (1 - shade / (_SHADES - 1))) for shade in range(_SHADES)]
    sheet = torch.zeros(drawing.size)
    frames = []
    for start in range(0, len(drawing.curves), step):
        part = slice(start, start + step)
        ink = softraster.draw_curves(
            drawing.curves[part],
            6.0 * side,
            drawing.size,
            samples=_PIECES,
            width=drawing.width[part],
            coverage="capsule",
            composite="max",
        )
        sheet = torch.maximum(sheet, ink)
        shades = (sheet * (_SHADES - 1)).round().to(torch.uint8).numpy()
        frame = require("PIL.Image").fromarray(shades, "P")
        # One palette of few greys for all frames: no dithering, and a small file.
        frame.putpalette([grey for grey in palette for _ in range(3)])
        frames.append(frame)
    file = io.BytesIO()
    durations = [*(len(frames) - 1) * [_FRAME_MS * step], _LAST_MS]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def _curve(points: Tensor) -> Tensor:
    """Bezier curves (N, 4, 2) of a line (P, 2); a dot is a curve without length."""
    if len(points) == 1:
        return points.expand(1, 4, 2)
    return softraster.catmull_rom_bezier(points)
