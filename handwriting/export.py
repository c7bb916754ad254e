"""The data set: every digit of MNIST as strokes, drawn by a trained model and measured.

Work is done in parts that are kept beside the file until it is whole, so that a stopped export goes
on, and ranks of torchrun share it out. Formats are left to `formats.py`, measuring to
`evaluate.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from handwriting import evaluate, metrics
from handwriting._extras import require
from handwriting.checkpoint import load_writer
from handwriting.data import Digits, Split, load_thinned
from handwriting.drawing import write_digits
from handwriting.files import pack_npz, unpack_npz, write_atomically
from handwriting.formats import SPLITS, StrokeSet, format_of, load_strokes, save_strokes
from handwriting.pendigits import load_pendigits
from handwriting.ranks import Ranks, ranks
from handwriting.reader import Reader, load_reader
from handwriting.resuming import hold
from handwriting.samples import Samples
from handwriting.strokes import LIFTED_LOG_SOFTNESS
from handwriting.tracer import trace

HALVES: dict[str, tuple[Split, ...]] = {
    "train": ("train",),
    "test": ("test",),
    "all": ("train", "test"),
}

_PART = 500  # digits in a part


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export. Exactly one of checkpoint, tracer and strokes says whose drawings.

    Attributes:
        checkpoint: file of a model.
        out: the file.
        data_dir: folder of the data, None for what `load_thinned` and `load_pendigits` find.
        split: "train", "test", or "all" for the one and then the other.
        limit: the first so many digits of each half only; None: all.
        format: one of `formats.FORMATS`; None: by the suffix of `out`.
        bits: of a coordinate, 16 or 32, in the formats "hdf5" and "npz".
        tracer: True for the skeleton tracer.
        strokes: a file that was exported, to be written in another format.
    """

    checkpoint: Path | None
    out: Path
    data_dir: Path | None = None
    split: str = "all"
    limit: int | None = None
    format: str | None = None
    bits: int = 16
    tracer: bool = False
    strokes: Path | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("checkpoint", "tracer", "strokes") if getattr(self, name)]
        if len(given) != 1:
            got = " and ".join(given) or None
            raise ValueError(f"one of checkpoint, tracer, strokes must be given, got {got}")
        format_of(self.out, self.format)
        if self.split not in HALVES:
            raise ValueError(f"split must be one of {', '.join(HALVES)}, got {self.split!r}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if self.bits not in (16, 32):
            raise ValueError(f"bits must be 16 or 32, got {self.bits}")


def export(config: ExportConfig) -> Path:
    """Write what a model draws for MNIST's digits, in their order, with how good each drawing is.

    What is done is kept in a folder beside `config.out` until the file is whole: the same call,
    made again, goes on from there and gives the same bytes. Where torchrun has started several
    processes, each draws its share, and the first writes the file; they need one folder in common.
    Where pendigits' files are not found, the metrics that need them are left out, with a warning.

    Returns:
        The path of the file. It is printed, too.

    Raises:
        ValueError: the checkpoint, the strokes or the data is damaged.
        OSError: a file cannot be read or written, or another process makes the same file.
        LostRankError: another rank has ended.
    """
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with ranks() as team:
        if config.strokes is None:
            _draw(config, team)
        elif team.first:
            _write(config, _selected(config))
    return config.out


def _write(config: ExportConfig, drawn: StrokeSet) -> None:
    save_strokes(config.out, drawn, format_of(config.out, config.format), config.bits)
    print(config.out)


def _selected(config: ExportConfig) -> StrokeSet:
    drawn = load_strokes(config.strokes)
    halves = [SPLITS.index(split) for split in HALVES[config.split]]
    which = np.isin(drawn.split, halves)
    if config.limit is not None:
        which &= drawn.index < config.limit
    if not which.any():
        raise ValueError(f"{config.strokes}: has no drawing of the split {config.split!r}")
    return drawn.select(which)


def _draw(config: ExportConfig, team: Ranks) -> None:
    """Draw this rank's parts; the first rank writes the file, once all ranks are done."""
    folder = config.out.with_name(f".{config.out.name}.parts")
    if team.first:
        folder.mkdir(exist_ok=True)
    with hold(folder) if team.first else nullcontext():
        if not team.first:
            team.wait()  # for the first, that makes the caches
        work = _prepare(config)
        if team.first:
            team.wait()
        parts = work.parts()
        mine = parts[team.rank :: team.count]
        with require("tqdm").tqdm(
            total=sum(part.count for part in mine), desc="exporting", unit=" digits", disable=None
        ) as bar:
            for part in mine:
                if _read_part(folder, part, work.key) is None:
                    _write_part(folder, part, work.key, work.draw(part))
                bar.update(part.count)
        team.wait()
        if team.first:
            drawn = [_read_part(folder, part, work.key) for part in parts]
            if None in drawn:
                missing = folder / parts[drawn.index(None)].name
                raise OSError(f"{missing} was drawn elsewhere: ranks must share this folder")
            _write(config, work.joined(drawn))
            shutil.rmtree(folder)


@dataclass(frozen=True)
class _Part:
    """Digits that are drawn in one go: `count` of a half from `start` on."""

    split: Split
    start: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.start:06d}.npz"


@dataclass(frozen=True, eq=False)
class _Work:
    """All that an export needs."""

    drawer: Callable[[Tensor, Tensor], np.ndarray]
    halves: dict[Split, Digits]
    reader: Reader
    humans: Samples | None
    rounding: type
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """Tells parts of this export from those of another."""
        facts = {**self.meta, "rounding": self.rounding.__name__}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def parts(self) -> list[_Part]:
        return [
            _Part(split, start, min(_PART, len(digits.labels) - start))
            for split, digits in self.halves.items()
            for start in range(0, len(digits.labels), _PART)
        ]

    def draw(self, part: _Part) -> dict[str, np.ndarray]:
        """The strokes of a part as they will be in the file, and their metrics."""
        digits = self.halves[part.split]
        which = slice(part.start, part.start + part.count)
        images, labels = digits.images[which], digits.labels[which]
        drawings = self.drawer(images, labels).astype(self.rounding).astype(np.float32)
        values = evaluate.measure(
            drawings, images.numpy(), labels.numpy(), self.reader, self.humans
        )
        del values["cnn_images"]  # of the digit, not of its drawing
        return {"strokes": drawings, **{name: v.astype(np.float32) for name, v in values.items()}}

    def joined(self, drawn: list[dict[str, np.ndarray]]) -> StrokeSet:
        arrays = {name: np.concatenate([part[name] for part in drawn]) for name in drawn[0]}
        strokes = arrays.pop("strokes")
        halves = self.halves.items()
        sizes = [len(digits.labels) for _, digits in halves]
        return StrokeSet(
            strokes,
            np.concatenate([digits.labels.numpy() for _, digits in halves]),
            np.concatenate([np.arange(size) for size in sizes]),
            np.repeat([SPLITS.index(split) for split, _ in halves], sizes),
            arrays["failed"] > 0,
            arrays,
            {**self.meta, "metrics": {name: evaluate.METRICS[name] for name in arrays}},
        )


def _prepare(config: ExportConfig) -> _Work:
    whole = {split: load_thinned(split, config.data_dir) for split in HALVES[config.split]}
    lessons = whole.get("train") or load_thinned("train", config.data_dir)
    reader = load_reader(lessons)
    try:
        humans = load_pendigits("train", config.data_dir)
    except FileNotFoundError as error:
        warnings.warn(f"dtw and forward are left out: {error}", stacklevel=3)
        humans = None
    if config.tracer:
        source: dict[str, Any] = {"drawn_by": "tracer"}
        drawer = _traced
    else:
        source = {
            "drawn_by": config.checkpoint.name,
            "model_sha256": file_fingerprint(config.checkpoint),
        }
        drawer = partial(write_digits, load_writer(config.checkpoint))
    some = slice(config.limit)
    halves = {
        split: Digits(digits.images[some], digits.labels[some], digits.source)
        for split, digits in whole.items()
    }
    meta = {
        **source,
        "lifted_log_softness": LIFTED_LOG_SOFTNESS,
        "data_sha256": {split: data_fingerprint(digits) for split, digits in whole.items()},
        "people": humans and humans.fingerprint(),
        "reader_sha256": _reader_fingerprint(reader),
        "count": {split: len(digits.labels) for split, digits in halves.items()},
        "failed": f"precision or recall under {metrics.FAILED_BELOW}",
        "versions": {name: version(name) for name in ("softraster", "torch", "numpy")},
    }
    rounding = {16: np.float16, 32: np.float32}[config.bits]
    return _Work(drawer, halves, reader, humans, rounding, meta)


def _traced(images: Tensor, labels: Tensor) -> np.ndarray:
    return trace(images.numpy(), labels.numpy())


def data_fingerprint(digits: Digits) -> dict[str, str]:
    """SHA-256 of thinned images, a bit a pixel and whole bytes an image, and of their labels."""
    images = digits.images.numpy()
    packed = np.packbits(images.reshape(len(images), -1), axis=1).tobytes()
    labels = digits.labels.numpy().astype(np.uint8).tobytes()
    return {
        "thinned_images": hashlib.sha256(packed).hexdigest(),
        "labels": hashlib.sha256(labels).hexdigest(),
    }


def _reader_fingerprint(reader: Reader) -> str:
    content = b"".join(tensor.numpy().tobytes() for tensor in reader.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_part(folder: Path, part: _Part, key: str, arrays: dict[str, np.ndarray]) -> None:
    write_atomically(folder / part.name, pack_npz({"key": key, **arrays}))


def _read_part(folder: Path, part: _Part, key: str) -> dict[str, np.ndarray] | None:
    """A part that was drawn before; None if it was not, or for another export."""
    path = folder / part.name
    try:
        arrays = unpack_npz(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: {error}, drawn again", stacklevel=2)
        return None
    return arrays if str(arrays.pop("key", None)) == key else None
