"""Every figure of how good strokes are, for whoever drew them: a model, the tracer, or people.

Puts together what metrics.py, reader.py and people.py measure, and writes it as a table and as
JSON. What the figures mean is said there; METRICS has all of it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handwriting import metrics, people
from handwriting._extras import require
from handwriting.checkpoint import load_writer
from handwriting.data import load_thinned
from handwriting.drawing import write_digits
from handwriting.files import write_atomically
from handwriting.pendigits import load_pendigits, thinned_pen_images
from handwriting.reader import Reader, load_reader, read
from handwriting.samples import Samples, load_samples, read_drawings
from handwriting.tracer import trace

METRICS = {
    **metrics.METRICS,
    "cnn": "share that a fixed network, trained on thinned digits, reads right",
    "cnn_images": "the same on the thinned images themselves",
    **people.METRICS,
}

PENDIGITS = "pendigits"
_CHUNK = 500

# Thinned images (n, 28, 28) and labels (n,) to drawings (n, P, 3).
Drawer = Callable[[Tensor, Tensor], np.ndarray]


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation. Exactly one of the first four says whose drawings it is of.

    Attributes:
        checkpoint: file of a model.
        strokes: a .npz file of drawings of the test digits, in their order, as `export` writes it
            for the split "test".
        tracer: True for the skeleton tracer.
        people: True for people: pendigits' second half against its first, and against images made
            from itself instead of MNIST's.
        templates: for the tracer, drawings to take order and direction from: a file or "author" as
            `load_samples` takes them, or "pendigits" for pendigits' first half.
        out: JSON file for the figures; None: they are printed only.
        data_dir: folder of the data, None for what `load_thinned` and `load_pendigits` find.
        limit: measure the first so many digits only; None: all.
    """

    checkpoint: Path | None = None
    strokes: Path | None = None
    tracer: bool = False
    people: bool = False
    templates: str | None = None
    out: Path | None = None
    data_dir: Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        sources = ("checkpoint", "strokes", "tracer", "people")
        given = [name for name in sources if getattr(self, name)]
        if len(given) != 1:
            got = " and ".join(given) or None
            raise ValueError(f"exactly one of {', '.join(sources)} must be given, got {got}")
        if self.templates is not None and not self.tracer:
            raise ValueError(f"templates must go with tracer, got them with {given[0]}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Measure drawings, print a table, and write `config.out`.

    Where pendigits' files are not found, the figures that need them are left out, with a warning.

    Returns:
        What the JSON holds. "drawings": whose; "digits": of what; "count": how many; "figures": the
        mean of each of METRICS; "by_class": the same for each digit; "versions". A mean of nothing,
        such as of turn_cos where no drawing turns, is None.

    Raises:
        ValueError: a file is damaged, or does not fit the test digits.
        OSError: a file cannot be read or written.
    """
    humans = _load_people(config)
    subject = _load_subject(config)
    reader = load_reader(load_thinned("train", config.data_dir))
    labels = subject.labels.numpy()
    values = measure(
        subject.drawings, subject.images.numpy(), labels, reader, humans, progress=True
    )
    measured = [(values, labels)]
    if subject.drawer is not None and humans is not None:
        known = _first(load_pendigits("test", config.data_dir), config.limit)
        measured.append((_recover(subject.drawer, known), known.labels.numpy()))
    result = {
        "drawings": subject.name,
        "digits": subject.digits,
        "count": len(labels),
        "figures": _means(measured),
        "by_class": {str(label): _means(measured, label) for label in np.unique(labels)},
        "versions": {name: version(name) for name in ("softraster", "torch", "numpy")},
    }
    print(format_table(result))
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.out, (json.dumps(result, indent=2) + "\n").encode())
        print(config.out)
    return result


def measure(
    drawings: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    reader: Reader,
    humans: Samples | None,
    *,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Measure all but recovery for each drawing.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.
        images: (n, 28, 28) of 0 and 1, the thinned digits that they are drawn after.
        labels: (n,), 0 to 9.
        reader: from `load_reader`.
        humans: human drawings to compare with; None: dtw and forward are left out.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        (n,) float64 for each name in METRICS, but those that start with "recovery".

    Raises:
        ValueError: the numbers differ, or a form is wrong.
    """
    if not len(drawings) == len(images) == len(labels) or not len(labels):
        counts = f"{len(drawings)} drawings, {len(images)} images and {len(labels)} labels"
        raise ValueError(f"drawings, images and labels must be equally many, got {counts}")
    chunks = []
    with require("tqdm").tqdm(
        total=len(labels), desc="measuring", unit=" digits", disable=None if progress else True
    ) as bar:
        for start in range(0, len(labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            some, image, label = drawings[part], images[part], labels[part]
            values = metrics.ink(some, image) | metrics.manner(some)
            values["cnn"] = (read(reader, metrics.render(some)) == label).astype(np.float64)
            values["cnn_images"] = (read(reader, image) == label).astype(np.float64)
            if humans is not None:
                strokes, their_labels = humans.strokes.numpy(), humans.labels.numpy()
                values |= people.likeness(some, label, strokes, their_labels)
            chunks.append(values)
            bar.update(len(label))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def format_table(result: dict[str, Any]) -> str:
    """The result of `evaluate` as text: a line for each figure, with what it means."""
    lines = [f"{result['drawings']}: {result['count']:,} drawings of {result['digits']}"]
    for name, value in result["figures"].items():
        figure = "-" if value is None else f"{value:.4f}"
        lines.append(f"{name:<19}{figure:>9}  {METRICS[name]}")
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Subject:
    """Drawings to measure, what of, and who draws more if asked."""

    name: str
    drawings: np.ndarray
    images: Tensor
    labels: Tensor
    digits: str
    drawer: Drawer | None = None


def _load_subject(config: EvaluateConfig) -> _Subject:
    if config.people:
        drawn = _first(load_pendigits("test", config.data_dir, points=20), config.limit)
        strokes = drawn.strokes.numpy()
        images = torch.from_numpy(thinned_pen_images(strokes))
        return _Subject("people", strokes, images, drawn.labels, f"their own from {drawn.source}")
    digits = load_thinned("test", config.data_dir)
    images, labels = digits.images[: config.limit], digits.labels[: config.limit]
    if config.strokes is not None:
        strokes = _read_strokes(config.strokes, labels)
        return _Subject(str(config.strokes), strokes, images, labels, digits.source)
    name, drawer = _load_drawer(config)
    return _Subject(name, drawer(images, labels), images, labels, digits.source, drawer)


def _read_strokes(path: Path, labels: Tensor) -> np.ndarray:
    """Drawings of a file, which must be of the digits with these labels, or go on with more."""
    drawings, their_labels = read_drawings(path)
    count = len(labels)
    if their_labels[:count] != labels.tolist():
        raise ValueError(f"{path}: its labels are not those of the first {count:,} test digits")
    if len({len(drawing) for drawing in drawings}) > 1:
        raise ValueError(f"{path}: its drawings have different numbers of points")
    return np.stack(drawings[:count]).astype(np.float32)


def _load_drawer(config: EvaluateConfig) -> tuple[str, Drawer]:
    if config.checkpoint is not None:
        writer = load_writer(config.checkpoint)
        return str(config.checkpoint), partial(write_digits, writer, progress=True)
    if config.templates is None:
        templates, name = None, "tracer"
    elif config.templates == PENDIGITS:
        templates, name = load_pendigits("train", config.data_dir), "tracer, pendigits as templates"
    else:
        templates = load_samples(config.templates, config.data_dir)
        name = f"tracer, {templates.source} as templates"

    def draw(images: Tensor, labels: Tensor) -> np.ndarray:
        return trace(images.numpy(), labels.numpy(), templates, progress=True)

    return name, draw


def _load_people(config: EvaluateConfig) -> Samples | None:
    try:
        return load_pendigits("train", config.data_dir)
    except FileNotFoundError as error:
        if config.people or config.templates == PENDIGITS:
            raise
        warnings.warn(f"dtw, forward and recovery are left out: {error}", stacklevel=3)
        return None


def _recover(drawer: Drawer, known: Samples) -> dict[str, np.ndarray]:
    strokes = known.strokes.numpy()
    drawings = drawer(torch.from_numpy(thinned_pen_images(strokes)), known.labels)
    return people.recovery(drawings, strokes)


def _first(samples: Samples, limit: int | None) -> Samples:
    return replace(samples, strokes=samples.strokes[:limit], labels=samples.labels[:limit])


def _means(
    measured: list[tuple[dict[str, np.ndarray], np.ndarray]], label: int | None = None
) -> dict[str, float | None]:
    """Means of values (n,), of those with a label if one is given; NaN does not count."""
    means: dict[str, float | None] = {}
    for values, labels in measured:
        for name, value in values.items():
            counted = value[np.isfinite(value) & ((labels == label) | (label is None))]
            means[name] = float(counted.mean()) if len(counted) else None
    return means
