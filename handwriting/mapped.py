"""Digits that need not fit in memory: IDX files thinned once into one that is mapped.

In MNIST's form, or in EMNIST's, whose images are transposed and whose classes from 10 on are
letters, which are left out. Sets that fit are left to data.py, how an image is thinned to
thinning.py.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from handwriting._extras import require
from handwriting.data import (
    THINNING_VERSION,
    DataError,
    Split,
    cache_folder,
    find_idx,
    idx_header_size,
    idx_shape,
)
from handwriting.models.writer import CLASSES, IMAGE_SIZE
from handwriting.thinning import thin

# EMNIST's sets that have digits. "letters" has none, under the same numbers.
EMNIST = ("digits", "mnist", "balanced", "bymerge", "byclass")

_EMNIST_FILE = "emnist-"

_CHUNK = 10_000  # images that are in memory at a time

# A record: the bits of an image, whole bytes, and the label.
_BITS = IMAGE_SIZE**2
_RECORD = _BITS // 8 + 1
_DIGEST = 32  # bytes before the records, their SHA-256


@dataclass(frozen=True, eq=False)
class MappedDigits:
    """Thinned digits in a file that is mapped.

    Attributes:
        records: (n, 99) uint8, mapped: the bits of an image, then its label.
        checksum: tells these digits from others.
        source: where they came from, in words for people.
    """

    records: np.ndarray
    checksum: str
    source: str

    def __len__(self) -> int:
        """The number of digits."""
        return len(self.records)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Read digits.

        Args:
            places: (B,) integers, on the CPU.

        Returns:
            Images (B, 28, 28) uint8 of 0 and 1, and labels (B,) int64.
        """
        records = self.records[places.numpy()]
        bits = np.unpackbits(records[:, :-1], axis=1).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
        return torch.from_numpy(bits), torch.from_numpy(records[:, -1].astype(np.int64))


def emnist_files(name: str, split: Split, data_dir: Path | str | None) -> tuple[Path, Path]:
    """Find the images and the labels of one half of an EMNIST set.

    Args:
        name: one of EMNIST.
        split: "train" or "test".
        data_dir: folder that holds the files under EMNIST's names, plain or .gz, in itself or in a
            sub-folder emnist; None for SOFTRASTER_DATA.

    Raises:
        FileNotFoundError: no folder is named, or it lacks a file.
    """
    folder = data_dir or os.environ.get("SOFTRASTER_DATA")
    if not folder:
        raise FileNotFoundError("EMNIST needs a data folder with its files: set SOFTRASTER_DATA")
    kinds = "images-idx3-ubyte", "labels-idx1-ubyte"
    images, labels = (
        find_idx(Path(folder).expanduser(), f"{_EMNIST_FILE}{name}-{split}-{kind}", "emnist")
        for kind in kinds
    )
    return images, labels


def load_mapped(images: Path, labels: Path) -> MappedDigits:
    """Map the thinned digits of two IDX files, whatever their size.

    The first call thins, some 6,000 digits a second, and keeps the result in the cache folder, 99
    bytes a digit, under a key made of the files' paths, sizes and times. Files whose names begin
    with emnist- are taken to be in EMNIST's form, others in MNIST's.

    Args:
        images: of 28x28 bytes, 0 is ground and 255 is ink, plain or .gz.
        labels: as many, 0 to 9; in EMNIST's form those from 10 on are left out.

    Raises:
        OSError: a file cannot be read, or the result not be written.
        DataError: a file is damaged, or has other images or labels.
        ImportError: OpenCV is needed and not installed.
    """
    images, labels = Path(images), Path(labels)
    if images.name.startswith(f"{_EMNIST_FILE}letters"):
        raise DataError(f"{images}: EMNIST's letters are no digits")
    facts = [THINNING_VERSION, *(_facts(path) for path in (images, labels))]
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    path = cache_folder() / f"thinned-{key}.records"
    # Whoever comes while another process thins waits for its result.
    with require("filelock").FileLock(path.with_name(f".{path.name}.lock")):
        checksum = _checksum(path)
        if checksum is None:
            print(f"Thinning {images}, once; kept in {path}", file=sys.stderr)
            _thin_into(path, images, labels)
            checksum = _checksum(path)
    shape = (path.stat().st_size - _DIGEST) // _RECORD, _RECORD
    records = np.memmap(path, np.uint8, "r", offset=_DIGEST, shape=shape)
    return MappedDigits(records.view(np.ndarray), checksum, f"{images}, thinned")


def _facts(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _checksum(path: Path) -> str | None:
    """That of the records at `path`; None if there are none or, with a warning, no sound ones."""
    if not path.exists():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        wanted, size = file.read(_DIGEST), 0
        while chunk := file.read(_CHUNK * _RECORD):
            digest.update(chunk)
            size += len(chunk)
    if digest.digest() != wanted or size == 0 or size % _RECORD:
        warnings.warn(f"{path}: damaged, thinning again", stacklevel=3)
        return None
    return digest.hexdigest()[:8]


def _thin_into(path: Path, images: Path, labels: Path) -> None:
    """Put the records of the digits at `path`, whole or not at all."""
    part, digest = path.with_name(f".{path.name}.part"), hashlib.sha256()
    try:
        with part.open("wb") as file:
            file.write(bytes(_DIGEST))
            for chunk, numbers in _chunks(images, labels):
                bits = np.packbits(thin(chunk).reshape(len(chunk), _BITS), axis=1)
                records = np.concatenate((bits, numbers[:, None]), axis=1).tobytes()
                digest.update(records)
                file.write(records)
            if file.tell() == _DIGEST:
                raise DataError(f"{images}: holds no digits")
            file.seek(0)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _chunks(images: Path, labels: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (n, 28, 28) as MNIST has them, and labels (n,) 0 to 9; up to _CHUNK at a time."""
    with _opened(images, 3) as (pixels, shape), _opened(labels, 1) as (numbers, (count,)):
        if shape[1:] != [IMAGE_SIZE, IMAGE_SIZE]:
            raise DataError(f"{images}: images are {tuple(shape[1:])}, they must be (28, 28)")
        if shape[0] != count:
            raise DataError(f"{labels}: {count} labels, but {shape[0]} images in {images.name}")
        emnist = images.name.startswith(_EMNIST_FILE)
        with require("tqdm").tqdm(
            total=count, desc="thinning", unit=" images", disable=None
        ) as bar:
            for start in range(0, count, _CHUNK):
                size = min(_CHUNK, count - start)
                chunk = _read(pixels, images, size * _BITS).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
                label = _read(numbers, labels, size)
                if emnist:
                    chunk, label = chunk[label < CLASSES], label[label < CLASSES]
                    chunk = np.ascontiguousarray(chunk.transpose(0, 2, 1))
                elif label.max() >= CLASSES:
                    raise DataError(f"{labels}: holds the label {label.max()}, not of 0 to 9")
                yield chunk, label
                bar.update(size)
        for file, path in ((pixels, images), (numbers, labels)):
            if _read_bytes(file, path, 1):
                raise DataError(f"{path}: longer than its header says")


@contextmanager
def _opened(path: Path, ndim: int) -> Iterator[tuple[BinaryIO, list[int]]]:
    """An IDX file, read up to its values, and its sizes."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        size = idx_header_size(ndim)
        header = _read_bytes(file, path, size)
        shape = idx_shape(path, header, ndim)
        if len(header) < size:
            raise DataError(f"{path}: shorter than its header says")
        yield file, shape


def _read(file: BinaryIO, path: Path, size: int) -> np.ndarray:
    data = _read_bytes(file, path, size)
    if len(data) < size:
        raise DataError(f"{path}: shorter than its header says")
    return np.frombuffer(data, np.uint8)


def _read_bytes(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return file.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})") from error
