"""A photograph of digits as pen strokes: found, read, drawn by a trained model, and refined.

Each step has its own module: photo.py, ink.py, cutting.py, frame.py, thinning.py, photo_reader.py,
the model, refine.py. Here they are put together, and the result is written as SVG, PNG and JSON.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting._extras import require
from handwriting.cutting import find_digits
from handwriting.files import pack_json, write_atomically
from handwriting.frame import to_frame
from handwriting.models.writer import CLASSES
from handwriting.photo import PhotoError, load_photo
from handwriting.photo_reader import load_photo_reader, read_inks
from handwriting.refine import STEPS, refine
from handwriting.shipped import DEFAULT, NAMES, load_shipped
from handwriting.strokes import pen_lifted
from handwriting.thinning import thin

SURE = 0.6  # a label that is read with less confidence is warned of

_LARGEST = 1600  # px, of an overlay's sides


@dataclass(frozen=True, eq=False)
class TracedDigit:
    """A digit of a photograph as pen strokes.

    Attributes:
        label: 0 to 9, as given or read.
        confidence: 0 to 1, how sure the reader is of that label.
        strokes: in drawing order, (k, 2) float64 each: x, y in px of the photograph, y down, a
            pixel's middle at .5. Between two of them the pen is lifted.
        width: of the ink, px of the photograph.
        box: x, y, width, height of the ink that was found, px of the photograph.
        drawing: (P, 3) float32, the strokes in MNIST's frame: x, y in units of its side, and 1
            where the pen is lifted after this point.
        image: (28, 28) uint8 of 0 and 1, the thinned digit that the model was shown.
        loss_before: of the model's drawing, against the photograph's ink.
        loss_after: of the refined one; never above `loss_before`.
    """

    label: int
    confidence: float
    strokes: list[np.ndarray]
    width: float
    box: tuple[float, float, float, float]
    drawing: np.ndarray
    image: np.ndarray
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class TraceConfig:
    """Options of tracing a file.

    Attributes:
        photo: the picture's file.
        out: the SVG.
        label: the digits from left to right, such as "314"; None: they are read.
        png: also draw the strokes over the photograph, in a .png beside the SVG.
        json: also write them as numbers, in a .json beside the SVG.
        shipped: name of the trained weights that draw.
        steps: of refinement; 0: none.
    """

    photo: Path
    out: Path
    label: str | None = None
    png: bool = False
    json: bool = False
    shipped: str = DEFAULT
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.out.suffix != ".svg":
            raise ValueError(f"out must be the name of a .svg file, got {self.out}")
        if self.label is not None:
            parse_labels(self.label)
        if self.shipped not in NAMES:
            raise ValueError(f"shipped must be {' or '.join(NAMES)}, got {self.shipped!r}")
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")

    def paths(self) -> list[Path]:
        """The files to write."""
        wanted = ((".svg", True), (".png", self.png), (".json", self.json))
        return [self.out.with_suffix(suffix) for suffix, is_wanted in wanted if is_wanted]


def trace(
    photo: Any,
    labels: int | str | Sequence[int] | None = None,
    *,
    model: Callable[[Tensor, Tensor], Tensor] | None = None,
    steps: int = STEPS,
) -> list[TracedDigit]:
    """Trace a digit, or a row of digits, in a photograph.

    Args:
        photo: a file's name; a Pillow image; or an array (H, W), (H, W, 3) or (H, W, 4) of grey,
            red green blue, or those and opacity: bool, uint8, uint16, or floats from 0 to 1.
        labels: which digits they are, from left to right: 7, "314" or [3, 1, 4]; None: read them.
        model: writes the first drawing: images (n, 28, 28) and labels (n,) to strokes (n, P, 3) of
            x, y, softness. None: that of `load_shipped()`.
        steps: of gradient descent on each drawing; 0: the model's drawings as they are.

    Returns:
        One for each digit, from left to right. Digits that touch count as one.

    Raises:
        PhotoError, a ValueError: nothing is found, it is too faint, too much, in several rows, or
            no picture at all.
        ValueError: `labels` are no digits, or not as many as are found; `steps` is negative.
        TypeError: `photo` is nothing of the above.
        OSError: the file cannot be read.

    Example:
        >>> digits = handwriting.trace("photo.jpg")
        >>> [digit.label for digit in digits], digits[0].strokes[0][:2]
        ([3, 1, 4], array([[211.2, 183.9], [228.4, 169.0]]))
    """
    wanted = None if labels is None else parse_labels(labels)
    inks = find_digits(load_photo(photo))
    if wanted is not None and len(wanted) != len(inks):
        touching = "; digits that touch count as one" if len(wanted) > len(inks) else ""
        counts = f"digits found: {len(inks)}, labels given: {len(wanted)}"
        raise PhotoError(f"{counts}{touching}")
    sure = read_inks(load_photo_reader(), inks)
    answers = np.array(wanted) if wanted is not None else sure.argmax(axis=1)
    frames = [to_frame(ink) for ink in inks]
    images = thin(np.stack([framed.image for framed in frames]))
    with torch.no_grad():
        strokes = (model or load_shipped())(
            torch.from_numpy(images).to(torch.float32), torch.from_numpy(answers)
        )
    targets = torch.from_numpy(np.stack([framed.fine for framed in frames]))
    widths = torch.tensor([framed.width for framed in frames])
    refined = refine(strokes, targets, widths, steps)
    lifted = torch.ones_like(refined.strokes[..., :1])
    lifted[:, :-1, 0] = pen_lifted(strokes).to(lifted.dtype)
    drawings = torch.cat((refined.strokes[..., :2], lifted), dim=2).numpy()
    return [
        TracedDigit(
            int(answers[n]),
            float(sure[n, answers[n]]),
            [frames[n].to_photo(chain) for chain in pen_down(drawings[n])],
            float(inks[n].width * inks[n].scale.mean()),
            inks[n].box,
            drawings[n],
            images[n],
            float(refined.before[n]),
            float(refined.after[n]),
        )
        for n in range(len(inks))
    ]


def pen_down(drawing: np.ndarray) -> list[np.ndarray]:
    """Chains of points (k, 2) float64, k at least 2, between which the pen of (P, 3) is lifted."""
    chains = np.split(drawing[:, :2].astype(np.float64), np.flatnonzero(drawing[:-1, 2]) + 1)
    return [chain for chain in chains if len(chain) > 1]


def parse_labels(labels: int | str | Sequence[int]) -> list[int]:
    """Digits in any form that `trace` takes.

    Raises:
        ValueError: something else, or none.
    """
    if isinstance(labels, str):
        numbers = [int(c) for c in labels] if labels.isascii() and labels.isdecimal() else []
    else:
        numbers = list(np.atleast_1d(labels).tolist())
    if numbers and all(type(n) is int and 0 <= n < CLASSES for n in numbers):
        return numbers
    raise ValueError(f"labels must be digits from 0 to 9, got {labels!r}")


def to_drawing(digits: Sequence[TracedDigit], size: tuple[int, int]) -> softraster.Drawing:
    """Traced digits as a drawing in the photograph's size, for `softraster.write_svg`.

    Args:
        digits: from `trace`.
        size: height and width of the photograph, px.
    """
    side = max(size)
    segments, widths = [np.zeros((0, 4))], []
    for digit in digits:
        for stroke in digit.strokes:
            segments.append(np.column_stack((stroke[:-1], stroke[1:])))
            widths += [digit.width] * (len(stroke) - 1)
    return softraster.Drawing.of(
        torch.from_numpy(np.concatenate(segments) / side), size, width=torch.tensor(widths) / side
    )


def overlay(photo: np.ndarray, digits: Sequence[TracedDigit]) -> np.ndarray:
    """Draw traced digits over their photograph, from violet to yellow in the order of writing.

    Args:
        photo: (H, W, 3) float32, 0 to 1, as `load_photo` gives it.
        digits: from `trace`.

    Returns:
        (h, w, 3) uint8, at most 1600 pixels a side.
    """
    cv2 = require("cv2")
    colormap = require("matplotlib").colormaps["plasma"]
    shrink = min(1.0, _LARGEST / max(photo.shape))
    pale = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    pale = torch.from_numpy(0.5 + 0.5 * pale).movedim(2, 0)
    drawing = to_drawing(digits, photo.shape[:2])
    counts = [sum(len(stroke) - 1 for stroke in digit.strokes) for digit in digits]
    color = np.concatenate([colormap(np.linspace(0.1, 0.95, n))[:, :3] for n in counts])
    size, side = pale.shape[1:], max(pale.shape)
    segments = drawing.curves[:, [0, 3]].flatten(1).float()
    width = (0.35 * drawing.width).clamp(min=1.5 / side).float()
    scene = (segments, 6.0 * side, tuple(size))
    options = {"coverage": "capsule", "width": width}
    # Painted on black it is the ink's part of the picture; "softor" says how much of it that is.
    color = torch.from_numpy(color).float()
    inked = softraster.draw_segments(*scene, **options, color=color, composite="over")
    cover = softraster.draw_segments(*scene, **options, composite="softor")
    pixels = (pale * (1 - cover) + inked).clamp(0, 1) * 255
    return pixels.round().byte().movedim(0, 2).contiguous().numpy()


def trace_photo(config: TraceConfig) -> list[TracedDigit]:
    """Trace a photograph's digits into files. Their names are printed, too.

    The SVG has the photograph's size and the ink's width. The JSON is a file of samples as
    samples.py has it, each drawing with more: "strokes" in px of the photograph, "width", "box",
    "confidence", and "loss" before and after refinement.

    Raises:
        As `trace`; also ValueError if the photograph would be overwritten, and OSError if a file
        cannot be written: what was there before stays.
    """
    for path in config.paths():
        if path.exists() and config.photo.exists() and path.samefile(config.photo):
            raise ValueError(f"{path} is the photograph itself: choose another name for --out")
    photo = load_photo(config.photo)
    digits = trace(photo, config.label, model=load_shipped(config.shipped), steps=config.steps)
    for number, digit in enumerate(digits, 1):
        if config.label is None and digit.confidence < SURE:
            warnings.warn(
                f"digit {number} may be no {digit.label} (confidence {digit.confidence:.2f}); "
                "--label says what is written",
                stacklevel=2,
            )
    texts = {
        ".svg": lambda: softraster.to_svg(to_drawing(digits, photo.shape[:2])).encode(),
        ".png": lambda: _png(overlay(photo, digits)),
        ".json": lambda: _json(config.photo.name, photo.shape[:2], digits),
    }
    contents = {path: texts[path.suffix]() for path in config.paths()}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        write_atomically(path, content)
    for digit in digits:
        print(
            f"{digit.label}: confidence {digit.confidence:.2f}, "
            f"loss {digit.loss_before:.4f} -> {digit.loss_after:.4f}",
            file=sys.stderr,
        )
    print(*contents, sep="\n")
    return digits


def _png(pixels: np.ndarray) -> bytes:
    packed = io.BytesIO()
    require("PIL.Image").fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def _json(name: str, size: tuple[int, int], digits: Sequence[TracedDigit]) -> bytes:
    entries = []
    for digit in digits:
        points = np.clip(digit.drawing[:, :2].astype(np.float64), 0, 1).round(5).tolist()
        lifted = digit.drawing[:, 2].astype(int).tolist()
        entries.append(
            {
                "label": digit.label,
                "points": [[x, y, up] for (x, y), up in zip(points, lifted, strict=True)],
                "strokes": [stroke.round(2).tolist() for stroke in digit.strokes],
                "width": round(digit.width, 2),
                "box": [round(side, 2) for side in digit.box],
                "confidence": round(digit.confidence, 4),
                "loss": [digit.loss_before, digit.loss_after],
            }
        )
    file = {"photo": name, "width": size[1], "height": size[0], "drawings": entries}
    return pack_json(file)
