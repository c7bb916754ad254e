"""The post's figure: digits, how the writer draws them, and what the renderer makes of it.

Also writes the strokes behind the figure as numbers. Which digits there are is left to `data.py`,
the writer's file to `checkpoint.py`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handwriting._extras import require
from handwriting.checkpoint import load_writer
from handwriting.data import Digits, load_thinned
from handwriting.files import write_atomically
from handwriting.models.writer import CLASSES, IMAGE_SIZE
from handwriting.renderers import line_model_renderer, soft_renderer
from handwriting.strokes import pen_lifted

SCALE = 4  # pixels of the figure for each pixel of a digit
MARGIN = 4  # pixels around each digit
CELL = SCALE * IMAGE_SIZE + 2 * MARGIN
_COLUMNS = 10


@dataclass(frozen=True)
class FigureConfig:
    """Options of a figure.

    Attributes:
        checkpoint: file of the writer.
        out: the PNG; the strokes are written beside it with the suffix .npz.
        data_dir: folder of the MNIST files, None for what `data.load_thinned` finds.
        count: test digits to draw, class by class in turn: 0, 1, ..., 9, 0, ...
        seed: which digits of a class are drawn.
        line_model: file of the neural renderer, to show what that makes of the strokes; None: the
            bottom row has soft lines.
    """

    checkpoint: Path
    out: Path
    data_dir: Path | None = None
    count: int = 10
    seed: int = 0
    line_model: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"out must be the name of a .png file, got {self.out}")


def draw_figure(config: FigureConfig) -> tuple[Path, Path]:
    """Draw test digits in three rows: thinned digit, segments in writing order, reconstruction.

    The middle row runs from violet at the start of the stroke to yellow at its end; segments that
    `pen_lifted` takes for no ink are thin and grey. The bottom row is the canvas, black at 0 and
    white from 1 on. Each column is CELL pixels wide; more than ten digits continue below.

    The .npz holds `strokes` (n, P, 3) float32 of x, y, softness; `label` (n,) int64; and `index`
    (n,) int64, the digit's place in the test set.

    Returns:
        The paths of the PNG and of the .npz. They are printed, too.

    Raises:
        ValueError: the checkpoint or the data is damaged, or there are fewer digits than `count`.
        OSError: a file cannot be read or written.
    """
    writer = load_writer(config.checkpoint)
    digits = load_thinned("test", config.data_dir)
    index = _choose(digits, config.count, config.seed)
    images = digits.images[index].to(torch.float32)
    labels = digits.labels[index]
    composite = writer.config.composite
    if config.line_model is None:
        draw = soft_renderer(composite)
    else:
        draw = line_model_renderer(config.line_model, composite, torch.device("cpu"))
    with torch.no_grad():
        strokes = writer(images, labels)
        canvas = draw(strokes)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(config.out, plot(images, strokes, canvas))
    arrays = {"strokes": strokes.numpy(), "label": labels.numpy(), "index": index.numpy()}
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    paths = config.out, config.out.with_suffix(".npz")
    write_atomically(paths[1], packed.getvalue())
    print(*paths, sep="\n")
    return paths


def _choose(digits: Digits, count: int, seed: int) -> Tensor:
    """Places of `count` digits, the classes in turn, in a random order within each class."""
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    labels = digits.labels.numpy()[order]
    rank = np.empty_like(labels)  # how many of its class come before
    for label in range(CLASSES):
        rank[labels == label] = np.arange((labels == label).sum())
    chosen = order[np.lexsort((labels, rank))][:count]
    if len(chosen) < count:
        raise ValueError(f"count is {count}, but there are {len(chosen)} test digits")
    return torch.from_numpy(chosen)


def plot(images: Tensor, strokes: Tensor, canvas: Tensor) -> bytes:
    """Draw the rows of `draw_figure`, ten digits in a block of them.

    Args:
        images: (n, 28, 28), the top row, 0..1.
        strokes: (n, P, 3) of x, y, softness, the middle row.
        canvas: (n, 28, 28), the bottom row, at least 0.

    Returns:
        A PNG file.
    """
    figures = require("matplotlib.figure")
    columns = min(len(images), _COLUMNS)
    rows = 3 * -(-len(images) // _COLUMNS)
    # Not pyplot, whose state and choice of backend are global.
    figure = figures.Figure(figsize=(columns, rows), dpi=CELL, facecolor="black")
    for number in range(len(images)):
        block, column = divmod(number, _COLUMNS)
        top, middle, bottom = (
            _add_cell(figure, column, 3 * block + row, columns, rows) for row in range(3)
        )
        _plot_image(top, images[number])
        _plot_segments(middle, strokes[number])
        _plot_image(bottom, canvas[number])
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _add_cell(figure: Any, column: int, row: int, columns: int, rows: int) -> Any:
    """Axes that fill a cell but for its margin, whole pixels so that an image is not resampled."""
    inset, side = MARGIN / CELL, 1 - 2 * MARGIN / CELL
    left, bottom = (column + inset) / columns, (rows - 1 - row + inset) / rows
    axis = figure.add_axes((left, bottom, side / columns, side / rows))
    axis.set_axis_off()
    return axis


def _plot_image(axis: Any, image: Tensor) -> None:
    axis.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _plot_segments(axis: Any, stroke: Tensor) -> None:
    collections = require("matplotlib.collections")
    colormap = require("matplotlib").colormaps["plasma"]
    ends = stroke[:, :2].numpy()
    segments = np.stack((ends[:-1], ends[1:]), axis=1)
    lifted = pen_lifted(stroke).numpy()
    colors = colormap(np.linspace(0.15, 1, len(segments)))
    up = collections.LineCollection(segments[lifted], colors="0.35", linewidths=0.6)
    down = collections.LineCollection(
        segments[~lifted], colors=colors[~lifted], linewidths=2, capstyle="round"
    )
    for lines in (up, down):
        axis.add_collection(lines)
    axis.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
