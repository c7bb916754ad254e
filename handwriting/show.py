"""What a file of strokes looks like: a sheet of digits, a GIF of them being written, a window.

Files are left to `formats.py`, frames of the GIF to `animation.py`.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting._extras import require
from handwriting.animation import animate
from handwriting.files import write_atomically
from handwriting.formats import SPLITS, StrokeSet, load_strokes
from handwriting.models.writer import CLASSES

SIDE = 64  # pixels of a digit on the sheet
_WIDTH = 0.055  # of the ink, in units of the canvas side
_GROUND = (0.06, 0.06, 0.08)
_FAILED_GROUND = (0.30, 0.04, 0.06)
_GIF_DIGITS = 10


@dataclass(frozen=True)
class ShowConfig:
    """Options of a preview.

    Attributes:
        file: an .npz, .h5 or stroke-3 .npz file of strokes.
        png: file of the sheet; None: no sheet.
        gif: file of ten digits being written; None: no GIF.
        window: whether to open a window with one digit, the first that is chosen.
        count: digits of the sheet.
        split: "train", "test" or "all".
        label: this digit only; None: the classes in turn.
        failed: badly drawn digits only.
        seed: which digits are chosen; None: others each time.
    """

    file: Path
    png: Path | None = None
    gif: Path | None = None
    window: bool = False
    count: int = 100
    split: str = "all"
    label: int | None = None
    failed: bool = False
    seed: int | None = 0

    def __post_init__(self) -> None:
        for name, suffix in (("png", ".png"), ("gif", ".gif")):
            path = getattr(self, name)
            if path is not None and path.suffix.lower() != suffix:
                raise ValueError(f"{name} must be the name of a {suffix} file, got {path}")
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if self.split not in (*SPLITS, "all"):
            raise ValueError(f"split must be train, test or all, got {self.split!r}")
        if self.label is not None and not 0 <= self.label < CLASSES:
            raise ValueError(f"label must be 0 to 9, got {self.label}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def show(config: ShowConfig) -> list[Path]:
    """Draw a preview of a file of strokes.

    Returns:
        The files that were written. They are printed, too. Where a window is asked for and there is
        no screen, a line on stderr says so.

    Raises:
        ValueError: the file is damaged, or has no such digit.
        OSError: a file cannot be read or written.
    """
    drawn = choose(load_strokes(config.file), config)
    made = {}
    if config.png is not None:
        made[config.png] = sheet(drawn.strokes, drawn.failed)
    if config.gif is not None:
        made[config.gif] = animate(drawn.strokes[:_GIF_DIGITS])
    for path, data in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
        print(path)
    if config.window:
        _open_window(drawn)
    return list(made)


def choose(drawn: StrokeSet, config: ShowConfig) -> StrokeSet:
    """Random digits of those that `config` asks for, the classes in turn, up to its count.

    Raises:
        ValueError: there is none.
    """
    which = np.ones(len(drawn), bool)
    if config.split != "all":
        which &= drawn.split == SPLITS.index(config.split)
    if config.label is not None:
        which &= drawn.label == config.label
    if config.failed:
        which &= drawn.failed
    if not which.any():
        raise ValueError(f"{config.file}: has no such digit")
    order = np.random.default_rng(config.seed).permutation(np.flatnonzero(which))
    rank = np.empty(len(order), int)  # how many of its class come before
    for label in range(CLASSES):
        same = drawn.label[order] == label
        rank[same] = np.arange(same.sum())
    return drawn.select(order[np.lexsort((drawn.label[order], rank))][: config.count])


def sheet(drawings: np.ndarray, failed: np.ndarray) -> bytes:
    """Draw digits in rows of ten, from violet to yellow in the order of writing.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.
        failed: (n,) bool, those whose ground is to be red.

    Returns:
        A PNG file; digits are SIDE by SIDE pixels.
    """
    columns = min(len(drawings), CLASSES)
    rows = -(-len(drawings) // columns)
    cells = torch.tensor(_GROUND).repeat(rows * columns, SIDE, SIDE, 1)
    cells[: len(drawings)] = _pictures(torch.from_numpy(drawings), torch.from_numpy(failed))
    whole = cells.reshape(rows, columns, SIDE, SIDE, 3).transpose(1, 2).reshape(rows * SIDE, -1, 3)
    png = io.BytesIO()
    pixels = (255 * whole.clamp(0, 1)).round().to(torch.uint8).numpy()
    require("PIL.Image").fromarray(pixels).save(png, "PNG")
    return png.getvalue()


def _pictures(drawings: Tensor, failed: Tensor) -> Tensor:
    """(n, SIDE, SIDE, 3), 0 to 1."""
    colormap = require("matplotlib").colormaps["plasma"]
    order = np.linspace(0.25, 1, drawings.shape[1] - 1)
    color = torch.from_numpy(colormap(order)[:, :3]).float()
    background = torch.where(failed[:, None], torch.tensor(_FAILED_GROUND), torch.tensor(_GROUND))
    canvases = softraster.draw_segments(
        torch.cat((drawings[:, :-1, :2], drawings[:, 1:, :2]), dim=2),
        6.0 * SIDE,
        SIDE,
        width=_WIDTH,
        intensity=1 - drawings[:, :-1, 2],
        color=color,
        background=background,
        coverage="capsule",
        composite="over",
    )
    return canvases.movedim(1, -1)


def _open_window(drawn: StrokeSet) -> None:
    """Show the first digit until the window is closed."""
    pyplot = require("matplotlib.pyplot")
    figure = pyplot.figure(figsize=(4, 4))
    backend = pyplot.get_backend()
    # What matplotlib falls back to where it finds no screen, or no toolkit to open a window with.
    if backend.lower() == "agg":
        print("no window: matplotlib finds no screen, or no toolkit for windows", file=sys.stderr)
        pyplot.close(figure)
        return
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    picture = _pictures(torch.from_numpy(drawn.strokes[:1]), torch.from_numpy(drawn.failed[:1]))
    axes.imshow(picture[0].numpy())
    index, split = drawn.index[0], SPLITS[drawn.split[0]]
    name = f"a {drawn.label[0]}, {split} digit {index}" + ", badly drawn" * bool(drawn.failed[0])
    figure.canvas.manager.set_window_title(name)
    pyplot.show()
    pyplot.close(figure)
