"""Collected strokes: digits that people drew, with the order and direction of the pen.

Reads and writes them in the two forms below, brings them to one number of points, and draws them as
images a network can be shown. Drawing itself is left to `softraster`.

.npz: `strokes` (n, P, 3) of x, y and lifted; `label` (n,) integers 0 to 9. x and y are in units of
the canvas side, 0 to 1, y down. lifted is 1 at a point that no line leaves, such as the last of a
pen-down chain, else 0; that of point P - 1 does not matter.
.json: `{"drawings": [{"label": 7, "points": [[x, y, lifted], ...]}, ...]}`, the same but with a
number of points of its own, at least 2, for each drawing.
Both also hold what `files.py` marks its files with; files without are read, too.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting._extras import require
from handwriting.files import (
    one_line,
    pack_json,
    pack_npz,
    unpack_json,
    unpack_npz,
    write_atomically,
)
from handwriting.models.writer import CLASSES, IMAGE_SIZE

AUTHOR = "author"
PENDIGITS = "pendigits"
_AUTHOR_FILE = "grzego-samples.h5"

OWN = "own"
OWN_FILE = Path(__file__).parent / "data_files" / "samples.npz"

# So hard that a pixel is 0, 1, or cut in half by the edge of a line.
_HARD = 1e5


class SampleError(ValueError):
    """A file does not hold drawings of the documented form; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Drawings of digits.

    Attributes:
        strokes: (n, P, 3) float32: x, y, lifted, as in the files.
        labels: (n,) int64, 0 to 9.
        source: where they came from, in words for people.
    """

    strokes: Tensor
    labels: Tensor
    source: str

    def fingerprint(self) -> str:
        """Tells these drawings from others."""
        checksum = zlib.crc32(self.strokes.numpy().tobytes())
        checksum = zlib.crc32(self.labels.numpy().tobytes(), checksum)
        return f"{len(self.labels)} drawings, checksum {checksum:08x}"


def load_samples(path: Path | str, data_dir: Path | str | None = None, points: int = 20) -> Samples:
    """Read drawings and bring them to `points` points each.

    Args:
        path: a .npz or .json file; a .h5 file of the post's author, `data` and `labels`, otherwise
            like the .npz; "author" for his 32 drawings, grzego-samples.h5 in `data_dir`;
            "pendigits" for the 7,494 of pendigits.tra there, as `load_pendigits` gives them; or
            "own" for the 160 that ship with the package and that `own_samples.py` draws.
        data_dir: folder with the author's file, also in its sub-folder strokes; None for
            SOFTRASTER_DATA.
        points: points of a drawing, as `resample` gives them; drawings that have so many are kept.

    Raises:
        OSError: the file cannot be read.
        SampleError: it is damaged, of another form or of a later version.
        ImportError: a .h5 file, and h5py is not installed.
    """
    if str(path) == PENDIGITS:
        from handwriting.pendigits import load_pendigits  # which stands on this module

        return load_pendigits("train", data_dir, points)
    if str(path) == AUTHOR:
        path = _author_file(data_dir)
    elif str(path) == OWN:
        path = OWN_FILE
    drawings, labels = read_drawings(path)
    strokes = []
    for number, drawing in enumerate(drawings):
        try:
            strokes.append(_with_points(drawing, points))
        except ValueError as error:
            raise SampleError(f"{path}: drawing {number}: {error}") from error
    return Samples(
        torch.from_numpy(np.stack(strokes).astype(np.float32)),
        torch.from_numpy(np.array(labels).astype(np.int64)),
        str(path),
    )


def read_drawings(path: Path | str) -> tuple[list[np.ndarray], list[int]]:
    """Read drawings with the points that the file has.

    Args:
        path: a .npz, .json or .h5 file, as in `load_samples`.

    Returns:
        What `save_samples` takes: (P, 3) float64 each, and labels.

    Raises:
        As `load_samples`.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".json": _read_json, ".h5": _read_hdf5}
    if path.suffix.lower() not in readers:
        raise SampleError(f"{path}: samples are .npz, .json or .h5 files")
    path.open("rb").close()  # an OSError that names the file, which not every reader promises
    try:
        drawings, labels = readers[path.suffix.lower()](path)
    except (KeyError, TypeError, ValueError) as error:
        kind = path.suffix.lower()
        raise SampleError(f"{path}: not a {kind} file of samples ({one_line(error)})") from error
    if len(drawings) != len(labels) or not len(drawings):
        raise SampleError(f"{path}: {len(drawings)} drawings and {len(labels)} labels")
    checked = []
    for number, (drawing, label) in enumerate(zip(drawings, labels, strict=True)):
        try:
            checked.append(check_drawing(drawing, label))
        except (TypeError, ValueError) as error:
            raise SampleError(f"{path}: drawing {number}: {error}") from error
    return checked, labels


def save_samples(path: Path | str, drawings: list[np.ndarray], labels: list[int]) -> None:
    """Write drawings, of any number of points each as .json, of one number as .npz.

    Args:
        path: the file, replaced if it is there.
        drawings: (P, 3) each: x, y, lifted.
        labels: 0 to 9, one for each drawing.

    Raises:
        ValueError: another suffix, or drawings of several lengths in a .npz file.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".json":
        entries = [
            {"label": int(label), "points": [[float(x), float(y), int(up)] for x, y, up in drawing]}
            for drawing, label in zip(drawings, labels, strict=True)
        ]
        data = pack_json({"drawings": entries})
    elif path.suffix == ".npz":
        strokes = np.stack(drawings).astype(np.float32)
        data = pack_npz({"strokes": strokes, "label": np.array(labels, np.int64)})
    else:
        raise ValueError(f"path must end in .npz or .json, got {path}")
    write_atomically(path, data)


def check_drawing(drawing: Any, label: Any) -> np.ndarray:
    """Give a drawing as (P, 3) float64 of x, y, lifted.

    Raises:
        TypeError, ValueError: it or its label is not of the form that files have; says why.
    """
    array = np.asarray(drawing)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"points must be numbers, got {array.dtype}")
    array = array.astype(np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or len(array) < 2:
        raise ValueError(f"points must be at least 2 of x, y, lifted, got shape {array.shape}")
    if not (array[:, :2] >= 0).all() or not (array[:, :2] <= 1).all():
        raise ValueError("x and y must be in 0..1")
    if not np.isin(array[:, 2], (0, 1)).all():
        raise ValueError("lifted must be 0 or 1")
    if type(label) is not int or not 0 <= label < CLASSES:
        raise ValueError(f"label must be an integer from 0 to 9, got {label!r}")
    return array


def resample(drawing: np.ndarray, points: int) -> np.ndarray:
    """Put points evenly along a drawing.

    Every pen-down chain keeps its ends. A jump with the pen up takes one segment; the others are
    shared out among the chains so that the longest is as short as can be. Chains without length,
    where the pen only touched the paper, are left out.

    Args:
        drawing: (Q, 3): x, y, lifted.
        points: how many to put, at least 2 for each chain.

    Returns:
        (points, 3) float64: x, y, lifted; the last point is lifted.

    Raises:
        ValueError: no chain has a length, or there are too many.
    """
    ends = np.flatnonzero(drawing[:-1, 2] > 0.5) + 1
    chains = []
    for chain in np.split(drawing[:, :2].astype(np.float64), ends):
        along = np.concatenate(([0.0], np.hypot(*np.diff(chain, axis=0).T).cumsum()))
        if along[-1] > 0:
            chains.append((chain, along))
    if not chains:
        raise ValueError("nothing is drawn")
    if 2 * len(chains) > points:
        raise ValueError(f"{len(chains)} pen-down chains do not fit in {points} points")
    counts = np.ones(len(chains), int)
    lengths = np.array([along[-1] for _, along in chains])
    for _ in range(points - 2 * len(chains)):
        counts[np.argmax(lengths / counts)] += 1
    result = []
    for (chain, along), count in zip(chains, counts, strict=True):
        at = np.linspace(0, along[-1], count + 1)
        lifted = np.arange(count + 1) == count
        result.append(np.stack((*(np.interp(at, along, axis) for axis in chain.T), lifted), axis=1))
    return np.concatenate(result)


def sample_images(strokes: Tensor) -> Tensor:
    """Draw drawings as thinned digits look: lines of ones, a pixel wide.

    Args:
        strokes: (n, P, 3): x, y, lifted.

    Returns:
        (n, 28, 28) float32 of 0 and 1.
    """
    hard = torch.cat((strokes[..., :2], torch.full_like(strokes[..., :1], _HARD)), dim=-1)
    drawn = 1 - strokes[..., :-1, 2]
    canvas = softraster.draw_strokes(hard, IMAGE_SIZE, intensity=drawn, composite="max")
    return (canvas > 0.5).to(torch.float32)


def _author_file(data_dir: Path | str | None) -> Path:
    named = data_dir or os.environ.get("SOFTRASTER_DATA")
    if not named:
        raise FileNotFoundError(
            f"samples {AUTHOR!r} need a data folder with {_AUTHOR_FILE} (samples.h5 of the post's "
            "repository, Grzego/mnist-handwriting-dataset): set SOFTRASTER_DATA"
        )
    folder = Path(named).expanduser()
    for path in (folder / _AUTHOR_FILE, folder / "strokes" / _AUTHOR_FILE):
        if path.exists():
            return path
    raise FileNotFoundError(f"{folder} has no {_AUTHOR_FILE}, neither itself nor in strokes")


def _read_npz(path: Path) -> tuple[np.ndarray, list[Any]]:
    arrays = unpack_npz(path)
    return arrays["strokes"], arrays["label"].ravel().tolist()


def _read_json(path: Path) -> tuple[list[Any], list[Any]]:
    drawings = unpack_json(path)["drawings"]
    return [entry["points"] for entry in drawings], [entry["label"] for entry in drawings]


def _read_hdf5(path: Path) -> tuple[np.ndarray, list[Any]]:
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as file:
            return file["data"][:], file["labels"][:].ravel().tolist()
    except Exception as error:  # damaged bytes make h5py raise anything
        raise ValueError(one_line(error)) from error


def _with_points(drawing: np.ndarray, points: int) -> np.ndarray:
    if len(drawing) != points:
        return resample(drawing, points)
    kept = drawing.copy()
    kept[-1, 2] = 1
    return kept
