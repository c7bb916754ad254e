"""Files of strokes: what `export` writes and `HandwrittenDigits` reads, in four formats.

docs/dataset.md says what is in them. Where strokes come from is left to `export.py`.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from handwriting._extras import require
from handwriting.files import (
    FORMAT_VERSION,
    check_marks,
    one_line,
    pack_npz,
    read_bytes,
    unpack_npz,
    write_atomically,
)
from handwriting.stroke3 import from_stroke3, join_air, to_stroke3

SPLITS = ("train", "test")  # by their number in the array `split`
SUFFIXES = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npz": "npz",
    ".ndjson": "ndjson",
    ".stroke3.npz": "stroke3",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))

STROKE3_SIDE = 1000  # of the canvas, in the units of stroke-3 files; offsets of sketch-rnn's limit
NDJSON_SIDE = 255  # of a drawing's box, as in QuickDraw's simplified files
_TEST_KEYS = 60_000  # added to the index of a test digit, so that keys are unique
# As in QuickDraw's files for sketch-rnn: 2,500 of 60,000 train digits, the last ones.
_VALID_SHARE = 24
# What an HDF5 file is marked with, in the block before it that HDF5 leaves to whoever writes it.
_BLOCK = 512
_BLOCK_FORM = "softraster format {} checksum {:08x}\n"
_MARKS = re.compile(rb"softraster format (\d+) checksum ([0-9a-f]{8})\n")
_MOST_PACKED = 1100  # deflate makes nothing smaller than to a 1032nd
_STROKE3_PARTS = {"train": "train", "valid": "train", "test": "test"}


class FormatError(ValueError):
    """A file does not hold strokes of a known form; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class StrokeSet:
    """Drawings of digits with what is known of each.

    Attributes:
        strokes: (n, P, 3) float32: x, y in units of the canvas side, y down, and 1 where the pen is
            lifted after this point.
        label: (n,) int64, 0 to 9.
        index: (n,) int64, place of the digit in its half of MNIST.
        split: (n,) int64, index into SPLITS: which half that is.
        failed: (n,) bool, whether it is badly drawn, by the metric of that name.
        quality: (n,) float32 for each metric; empty where the file has none.
        meta: what JSON can hold: what drew them, from which data, and by which versions.
    """

    strokes: np.ndarray
    label: np.ndarray
    index: np.ndarray
    split: np.ndarray
    failed: np.ndarray
    quality: dict[str, np.ndarray]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.label)

    def select(self, which: np.ndarray) -> StrokeSet:
        """The drawings at `which`, places or a mask, in their order."""
        arrays = {name: getattr(self, name)[which] for name in _ARRAYS}
        quality = {name: values[which] for name, values in self.quality.items()}
        return replace(self, **arrays, quality=quality)


_TYPES = {
    "strokes": np.float32,
    "label": np.int64,
    "index": np.int64,
    "split": np.int64,
    "failed": np.bool_,
}
_ARRAYS = tuple(field.name for field in fields(StrokeSet) if field.name in _TYPES)


def format_of(path: Path, named: str | None = None) -> str:
    """The format that a file is to have: the one named, or else that of its suffix.

    Raises:
        ValueError: there is no such format, or the suffix stands for none.
    """
    if named is not None:
        if named not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {named!r}")
        return named
    # The longest suffix first: .stroke3.npz is not .npz.
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return SUFFIXES[suffix]
    raise ValueError(f"out must end in {', '.join(SUFFIXES)}, or format be given; got {path}")


def save_strokes(path: Path | str, drawn: StrokeSet, form: str, bits: int = 16) -> None:
    """Write drawings; the same drawings give the same bytes.

    Args:
        path: the file, replaced if it is there.
        drawn: the drawings.
        form: one of FORMATS.
        bits: of a coordinate in "hdf5" and "npz", 16 or 32.

    Raises:
        OSError: the file cannot be written.
        ImportError: "hdf5", and h5py is not installed.
    """
    stored = {"strokes": {16: np.float16, 32: np.float32}[bits], "label": np.uint8}
    stored |= {"index": np.int32, "split": np.uint8}
    arrays = {name: getattr(drawn, name) for name in _ARRAYS}
    arrays = {name: array.astype(stored.get(name, array.dtype)) for name, array in arrays.items()}
    arrays |= {f"quality/{name}": drawn.quality[name] for name in sorted(drawn.quality)}
    if form == "hdf5":
        data = _hdf5(arrays, drawn.meta)
    elif form == "npz":
        data = pack_npz({**arrays, "meta": json.dumps(drawn.meta)})
    elif form == "stroke3":
        data = pack_npz(_stroke3(drawn))
    else:
        data = "".join(_ndjson(drawn)).encode()
    write_atomically(Path(path), data)


def load_strokes(path: Path | str) -> StrokeSet:
    """Read what `save_strokes` wrote as "hdf5", "npz" or "stroke3".

    Raises:
        OSError: the file cannot be read.
        FormatError: it is damaged, of another form or of a later version.
        ImportError: a .h5 file, and h5py is not installed.
    """
    path = Path(path)
    path.open("rb").close()  # an OSError that names the file, which not every reader promises
    hdf5 = path.suffix.lower() in (".h5", ".hdf5")
    if not hdf5 and path.suffix.lower() != ".npz":
        raise FormatError(f"{path}: strokes are read from .npz, .h5 and .hdf5 files")
    try:
        arrays = _read_hdf5(path) if hdf5 else unpack_npz(path)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    try:
        return _checked(_from_stroke3(arrays) if "valid" in arrays else _from_arrays(arrays))
    except KeyError as error:
        raise FormatError(f"{path}: not a file that export wrote, it lacks {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        reason = one_line(error)
        raise FormatError(f"{path}: damaged, or not a file that export wrote ({reason})") from error


def _hdf5(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> bytes:
    """Groups train and test, each with the arrays but `split`."""
    packed = io.BytesIO()
    with require("h5py").File(packed, "w", userblock_size=_BLOCK) as file:
        file.attrs["meta"] = json.dumps(meta)
        for number, split in enumerate(SPLITS):
            here = arrays["split"] == number
            for name, array in arrays.items():
                if name != "split" and here.any():
                    file.create_dataset(
                        f"{split}/{name}", data=array[here], compression="gzip", shuffle=True
                    )
    rest = packed.getvalue()[_BLOCK:]
    return _BLOCK_FORM.format(FORMAT_VERSION, zlib.crc32(rest)).encode().ljust(_BLOCK) + rest


def _stroke3(drawn: StrokeSet) -> dict[str, Any]:
    scaled = drawn.strokes * (STROKE3_SIDE, STROKE3_SIDE, 1)
    offsets = to_stroke3(scaled.round().astype(np.int16))
    places = {name: np.flatnonzero(drawn.split == at) for at, name in enumerate(SPLITS)}
    train = len(places["train"]) - len(places["train"]) // _VALID_SHARE
    places["train"], places["valid"] = np.split(places["train"], [train])
    arrays: dict[str, Any] = {name: offsets[places[name]] for name in _STROKE3_PARTS}
    for name in _STROKE3_PARTS:
        arrays[f"{name}_label"] = drawn.label[places[name]].astype(np.uint8)
        arrays[f"{name}_index"] = drawn.index[places[name]].astype(np.int32)
        arrays[f"{name}_failed"] = drawn.failed[places[name]]
    return {**arrays, "meta": json.dumps(drawn.meta)}


def _ndjson(drawn: StrokeSet) -> Iterator[str]:
    """A line for each drawing, in QuickDraw's simplified form."""
    read_right = drawn.quality.get("cnn")
    for number, drawing in enumerate(join_air(drawn.strokes)):
        split, index = SPLITS[drawn.split[number]], int(drawn.index[number])
        line = {
            "word": str(drawn.label[number]),
            "countrycode": "",
            "timestamp": "",
            "recognized": None if read_right is None else bool(read_right[number]),
            "key_id": str(index + (_TEST_KEYS if split == "test" else 0)),
            "drawing": _boxed(drawing),
            "split": split,
            "index": index,
            "failed": bool(drawn.failed[number]),
        }
        yield json.dumps(line, separators=(",", ":")) + "\n"


def _boxed(drawing: np.ndarray) -> list[list[list[int]]]:
    """Pen-down lines, each its xs and its ys, in a box at 0 whose longer side is NDJSON_SIDE."""
    lines = np.split(drawing, np.flatnonzero(drawing[:-1, 2] > 0.5) + 1)
    lines = [line[:, :2] for line in lines if len(line) > 1]
    if not lines:
        return []
    points = np.concatenate(lines)
    low, size = points.min(axis=0), np.ptp(points, axis=0).max()
    scale = NDJSON_SIDE / size if size > 0 else 0
    boxed = []
    for line in lines:
        pixels = ((line - low) * scale).round().astype(int)
        new = np.r_[True, (np.diff(pixels, axis=0) != 0).any(axis=1)]
        boxed.append(pixels[new].T.tolist())
    return boxed


def _read_hdf5(path: Path) -> dict[str, Any]:
    """The arrays of both groups, one after the other."""
    data = read_bytes(path)
    marked = _MARKS.match(data)
    if marked:  # at first: HDF5 may take long to find out that something is wrong
        wanted = f"{zlib.crc32(data[_BLOCK:]):08x}"
        check_marks(int(marked[1]), marked[2].decode(), wanted)
    h5py = require("h5py")
    found: dict[str, list[np.ndarray]] = {}
    try:
        with h5py.File(path, "r") as file:
            for number, split in enumerate(SPLITS):
                if split in file:
                    for name, array in _read_group(file[split], _MOST_PACKED * len(data)):
                        found.setdefault(name, []).append(array)
                    count = len(file[split]["label"])
                    found.setdefault("split", []).append(np.full(count, number))
            arrays = {name: np.concatenate(parts) for name, parts in found.items()}
            return {**arrays, "meta": file.attrs["meta"]}
    except Exception as error:  # damaged bytes make h5py raise anything
        raise ValueError(f"damaged, or no HDF5 file of strokes: {one_line(error)}") from error


def _read_group(group: Any, most: int) -> Iterator[tuple[str, np.ndarray]]:
    names = [name for name in group if name != "quality"]
    for name in (*names, *(f"quality/{metric}" for metric in group.get("quality", ()))):
        if group[name].nbytes > most:
            raise ValueError(f"{name} would take {group[name].nbytes:,} bytes")
        yield name, group[name][:]


def _from_arrays(arrays: dict[str, Any]) -> StrokeSet:
    quality = {
        name.removeprefix("quality/"): array
        for name, array in arrays.items()
        if name.startswith("quality/")
    }
    known = {name: _numbers(arrays[name]).astype(kind) for name, kind in _TYPES.items()}
    return StrokeSet(**known, quality=quality, meta=json.loads(str(arrays["meta"])))


def _numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"holds {array.dtype} where numbers must be")
    return array


def _from_stroke3(arrays: dict[str, Any]) -> StrokeSet:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([arrays[f"{part}{name}"] for part in _STROKE3_PARTS])

    splits = [
        np.full(len(arrays[part]), SPLITS.index(split)) for part, split in _STROKE3_PARTS.items()
    ]
    strokes = from_stroke3(joined("")).astype(np.float32)
    strokes[..., :2] /= STROKE3_SIDE
    rest = {name: joined(f"_{name}") for name in ("label", "index", "failed")}
    return _from_arrays(
        {"strokes": strokes, **rest, "split": np.concatenate(splits), "meta": arrays["meta"]}
    )


def _checked(drawn: StrokeSet) -> StrokeSet:
    shape = drawn.strokes.shape
    if len(shape) != 3 or shape[1] < 2 or shape[2] != 3:
        raise ValueError(f"strokes have shape {shape}, they must be (n, P, 3), P >= 2")
    for name in _ARRAYS[1:]:
        if getattr(drawn, name).shape != shape[:1]:
            raise ValueError(f"{name} has shape {getattr(drawn, name).shape}, strokes have {shape}")
    for name, values in drawn.quality.items():
        if values.shape != shape[:1] or values.dtype.kind != "f":
            raise ValueError(f"the metric {name} is {values.dtype} of shape {values.shape}")
    if not isinstance(drawn.meta, dict):
        raise ValueError(f"meta must be an object, got {type(drawn.meta).__name__}")
    if not np.isin(drawn.label, range(10)).all() or not np.isin(drawn.split, (0, 1)).all():
        raise ValueError("labels must be 0 to 9 and splits 0 or 1")
    if not np.isfinite(drawn.strokes).all() or not np.isin(drawn.strokes[..., 2], (0, 1)).all():
        raise ValueError("x and y must be finite, lifted must be 0 or 1")
    return drawn
