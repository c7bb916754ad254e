"""Kinds of files that the package reads, how each is made, and how they are damaged."""

import dataclasses
import gzip
import random

import numpy as np
import pytest
import torch
from strokesets import make_set

from handwriting import checkpoint as checkpoints
from handwriting import donors, files, tables
from handwriting.checkpoint import Checkpoint, CheckpointError
from handwriting.data import DataError, load_mnist
from handwriting.formats import FormatError, load_strokes, save_strokes
from handwriting.models.pen import Pen, PenConfig
from handwriting.models.writer import Writer, WriterConfig
from handwriting.reader import Reader, reader_of
from handwriting.samples import SampleError, read_drawings, save_samples

h5py = pytest.importorskip("h5py")

DAMAGES = 100  # of each file
STYLES = donors.STYLES_FILE
DRAWING = np.array([(0.2, 0.1, 0), (0.3, 0.8, 1), (0.5, 0.5, 0), (0.6, 0.25, 1)])


def checkpoint_of(model, path):
    optimizer = {f"{name}/exp_avg": torch.rand(w.shape) for name, w in model.named_parameters()}
    training = {"step": 7, "elapsed": 0.25, "options": {"lr": 5e-4, "limit": None}}
    checkpoints.save(path, Checkpoint(model.config, model.state_dict(), optimizer, training))


def halved(path):
    """As `ship` writes weights."""
    writer = Writer(WriterConfig(units=4, points=3))
    weights = {name: weight.half() for name, weight in writer.state_dict().items()}
    training = {"made_by": "a command", "check": {"f1": 0.97}}
    checkpoints.save(path, Checkpoint(writer.config, weights, training=training))


def results(path):
    held = {**tables.no_results("quick"), "runs": {"1": {"0": {"test_mse": 0.0125, "steps": 400}}}}
    path.write_bytes(files.pack_json(held, indent=1))


def idx(path, packed=False):
    """The test half of MNIST, six digits."""
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", np.arange(6, dtype=np.uint8))):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        content = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
        file = path.with_name(f"t10k-{name}-ubyte{'.gz' * packed}")
        file.write_bytes(gzip.compress(content, mtime=0) if packed else content)


def read_styles(path):
    donors.load_styles.cache_clear()
    try:
        return donors.load_styles()
    finally:
        donors.load_styles.cache_clear()


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: how it is made and read, what refuses it, and whether it has a checksum."""

    name: str
    make: object
    read: object
    error: type
    checked: bool = True


def strokes(form):
    return lambda path: save_strokes(path, make_set(), form)


def samples(path):
    save_samples(path, [DRAWING, DRAWING[::-1] * (1, 1, -1) + (0, 0, 1)], [4, 7])


def author(path):
    with h5py.File(path, "w") as file:
        file["data"], file["labels"] = np.stack([DRAWING] * 3), np.array([4, 8, 1], np.int32)


KINDS = [
    Kind(
        "checkpoint.safetensors",
        lambda path: checkpoint_of(Writer(WriterConfig(units=3, points=2)), path),
        checkpoints.load,
        CheckpointError,
    ),
    Kind("rung9.safetensors", halved, checkpoints.load, CheckpointError),
    Kind(
        "pen.safetensors",
        lambda path: checkpoint_of(Pen(PenConfig(units=4)), path),
        checkpoints.load,
        CheckpointError,
    ),
    Kind(
        "reader.safetensors",
        lambda path: checkpoints.save_tensors(path, Reader().state_dict(), {"made_by": "me"}),
        reader_of,
        CheckpointError,
    ),
    Kind(
        "pen_styles.npz",
        lambda path: path.write_bytes(STYLES.read_bytes()),
        read_styles,
        ValueError,
    ),
    Kind("digits.npz", strokes("npz"), load_strokes, FormatError),
    Kind("digits.h5", strokes("hdf5"), load_strokes, FormatError),
    Kind("digits.stroke3.npz", strokes("stroke3"), load_strokes, FormatError),
    Kind("samples.npz", samples, read_drawings, SampleError),
    Kind("samples.json", samples, read_drawings, SampleError),
    Kind("author.h5", author, read_drawings, SampleError, checked=False),
    Kind("experiments.json", results, tables.read_results, ValueError),
    Kind(
        "t10k-images-idx3-ubyte",
        idx,
        lambda path: load_mnist("test", path.parent),
        DataError,
        checked=False,
    ),
    Kind(
        "t10k-images-idx3-ubyte.gz",
        lambda path: idx(path, packed=True),
        lambda path: load_mnist("test", path.parent),
        DataError,
    ),
    Kind(
        "t10k-labels-idx1-ubyte",
        idx,
        lambda path: load_mnist("test", path.parent),
        DataError,
        checked=False,
    ),
]


def same(one, other):
    """Whether two things that were read are equal to the last bit."""
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, torch.nn.Module):
        return same(one.state_dict(), other.state_dict())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        floats = one.dtype.kind == "f"
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=floats)
    return one == other


def damages(whole):
    """A file, damaged: a byte changed in header, middle and end, cut, overwritten, spliced."""
    chance = random.Random(len(whole))
    size = len(whole)
    for number in range(DAMAGES):
        data = bytearray(whole)
        kind, at = number % 5, chance.randrange(size)
        if kind == 0:
            low, high = ((0, 200), (size // 3, 2 * size // 3), (size - 200, size))[number // 5 % 3]
            data[chance.randrange(max(0, low), min(size, high))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = (data[at] + chance.randrange(1, 256)) % 256
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at : at + 64] = chance.randbytes(len(data[at : at + 64]))
        else:
            data[at : at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        if data != whole:
            yield bytes(data)
