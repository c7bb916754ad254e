"""Pendigits: digits whose pen path is known, and images of them in MNIST's manner.

Reads the files of "Pen-Based Recognition of Handwritten Digits", E. Alpaydin and F. Alimoglu, 1998,
doi 10.24432/C5MG6K: 7,494 digits of 30 people to learn from, 3,498 of 14 others to test with. What
is learned or measured on them is left to others.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

import softraster
from handwriting.data import DataError, Split
from handwriting.dtw import resample
from handwriting.models.writer import IMAGE_SIZE
from handwriting.samples import Samples
from handwriting.thinning import thin

_FILES = {"train": "pendigits.tra", "test": "pendigits.tes"}
FILE_POINTS = 8  # of a path, evenly spaced

# Mean box of the lines of thinned MNIST digits: 12.5 by 17.4 px.
BOX = (13 / IMAGE_SIZE, 17 / IMAGE_SIZE)

_WIDTH = 3  # px, of the pen in `pen_images`
_FINER = 4  # pixels drawn for each pixel of an image, along a side
_CHUNK = 250  # images at once


def load_pendigits(
    split: Split, data_dir: Path | str | None = None, points: int = FILE_POINTS
) -> Samples:
    """Load pen paths, jumps of the lifted pen drawn over.

    The digits come stretched to a square. Here they get the box of a usual MNIST digit, BOX, and
    its place: the mean of the path is in the middle of the canvas.

    Args:
        split: "train" or "test", which share no writer; else ValueError.
        data_dir: folder with pendigits.tra and pendigits.tes, in itself or in a sub-folder
            pendigits; None for SOFTRASTER_DATA.
        points: how many to put evenly along the path, at least 2; FILE_POINTS are as they come.

    Returns:
        Samples (n, points, 3), lifted at the last point alone.

    Raises:
        FileNotFoundError: no folder is named, or it lacks the file.
        DataError: the file is damaged.
    """
    if split not in _FILES:
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    path = _find(_FILES[split], data_dir)
    table = _read(path)
    paths = table[:, :-1].reshape(-1, FILE_POINTS, 2) / 100
    paths[..., 1] = 1 - paths[..., 1]
    paths = _place(paths)
    if points != FILE_POINTS:
        paths = resample(paths, points)
    strokes = np.zeros((*paths.shape[:2], 3), np.float32)
    strokes[..., :2] = paths
    strokes[:, -1, 2] = 1
    return Samples(torch.from_numpy(strokes), torch.from_numpy(table[:, -1].copy()), str(path))


def pen_images(drawings: np.ndarray) -> np.ndarray:
    """Draw as with a pen of three pixels' width, with round ends, so that thinning has work to do.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.

    Returns:
        (n, 28, 28) uint8: 255 times the share of a pixel that is inked.
    """
    side = _FINER * IMAGE_SIZE
    images = []
    for some in torch.from_numpy(drawings).split(_CHUNK):
        strokes = torch.cat((some[..., :2], torch.full_like(some[..., :1], 6 * side)), dim=2)
        fine = softraster.draw_strokes(
            strokes,
            side,
            coverage="capsule",
            width=_WIDTH / IMAGE_SIZE,
            intensity=1 - some[:, :-1, 2],
            composite="max",
        )
        images.append((255 * avg_pool2d(fine, _FINER)).round().to(torch.uint8))
    return torch.cat(images).numpy()


def thinned_pen_images(drawings: np.ndarray) -> np.ndarray:
    """`pen_images`, thinned as MNIST's are: (n, 28, 28) uint8 of 0 and 1."""
    return thin(pen_images(drawings))


def _place(paths: np.ndarray) -> np.ndarray:
    """Paths (n, P, 2) in a unit box, brought to BOX and to the middle of the canvas."""
    paths = paths * BOX
    middle = resample(paths, 100).mean(axis=1)
    margin = (_WIDTH / 2 + 0.5) / IMAGE_SIZE
    corner = np.clip(0.5 - middle, margin, 1 - margin - np.array(BOX))
    return paths + corner[:, None]


def _find(name: str, data_dir: Path | str | None) -> Path:
    named = data_dir or os.environ.get("SOFTRASTER_DATA")
    if not named:
        raise FileNotFoundError(f"{name}: no data folder is named; set SOFTRASTER_DATA")
    folder = Path(named).expanduser()
    for path in (folder / "pendigits" / name, folder / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: neither it nor its sub-folder pendigits holds {name}")


def _read(path: Path) -> np.ndarray:
    """(n, 17) int64: x and y of each point, 0..100, y up, then the label."""
    try:
        table = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: not a table of integers ({error})") from error
    if table.shape[1:] != (2 * FILE_POINTS + 1,) or not len(table):
        raise DataError(f"{path}: a table of shape {table.shape}, it must have 17 columns")
    points, labels = table[:, :-1], table[:, -1]
    if points.min() < 0 or points.max() > 100 or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path}: points must be in 0..100 and labels in 0..9")
    return table
