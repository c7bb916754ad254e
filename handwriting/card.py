"""The card of the data set: makes it, measures it, and puts the numbers into docs/dataset.md.

Also tells what the strokes are good for: a reader of strokes is trained on them, on the tracer's
and on people's, and each reads all three. Numbers on the page come from the JSON alone.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handwriting.animation import animate
from handwriting.data import load_thinned
from handwriting.export import ExportConfig, data_fingerprint, export, file_fingerprint
from handwriting.files import write_atomically
from handwriting.formats import FORMATS, SPLITS, SUFFIXES, StrokeSet, load_strokes, save_strokes
from handwriting.metrics import FAILED_BELOW
from handwriting.models.writer import CLASSES
from handwriting.pages import fill_page, table
from handwriting.pendigits import load_pendigits
from handwriting.show import ShowConfig, choose, sheet
from handwriting.stroke_reader import (
    StrokeReaderConfig,
    common_form,
    read_strokes,
    set_of,
    train_stroke_reader,
)

SOURCES = {
    "digits": "this data set",
    "tracer": "the skeleton tracer's strokes of the same digits",
    "people": "people's pen paths (pendigits)",
}
_POINTS = 20
_FORWARD = 0.9  # a class under it is named among the faults
_SHARES = ("failed", "abuse", "retrace", "cnn", "forward")
_SHOWN = (
    *("failed", "precision", "recall", "f1", "chamfer", "abuse", "redundancy", "retrace"),
    *("lifts", "cnn", "dtw", "forward"),
)
_DIGITS = {"dtw": 3, "f1": 3, "precision": 3, "recall": 3}


@dataclass(frozen=True)
class CardConfig:
    """Options of making the card.

    Attributes:
        checkpoint: file of the model that draws.
        files: folder for digits.h5 and tracer.h5; such files of the same model and data are used.
        out: the JSON of all numbers.
        page: the page whose blocks are renewed; None: none.
        images: folder of the page's pictures; None: none are drawn.
        data_dir: folder of MNIST's and pendigits' files, as for `export`.
        limit: the first so many digits of each half only; None: all.
        epochs: of each reader of strokes.
        seed: of the readers, and of which digits are in the pictures.
    """

    checkpoint: Path
    files: Path = Path("runs/dataset")
    out: Path = Path("results/dataset.json")
    page: Path | None = None
    images: Path | None = None
    data_dir: Path | None = None
    limit: int | None = None
    epochs: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def make_card(config: CardConfig) -> dict[str, Any]:
    """Export the digits and the tracer's strokes, measure them, write JSON, page and pictures.

    Returns:
        What the JSON holds: "set", the meta of the file; "counts" and "quality" by split and class;
        "failed", what is wrong with badly drawn test digits; "bytes" of each format; "reading",
        accuracies by what was learned from and what was read.

    Raises:
        As `export`; FileNotFoundError, too, where pendigits is not found.
    """
    people = {split: load_pendigits(split, config.data_dir, _POINTS) for split in SPLITS}
    digits = _exported(config, "digits.h5", checkpoint=config.checkpoint)
    tracer = _exported(config, "tracer.h5", checkpoint=None, tracer=True)
    lessons = {"digits": digits, "tracer": tracer, "people": set_of(people["train"], "train")}
    tests = {
        "digits": _half(digits, "test"),
        "tracer": _half(tracer, "test"),
        "people": set_of(people["test"], "test"),
    }
    result = {
        "set": digits.meta,
        "counts": _by_class(digits, len),
        "quality": _by_class(digits, _means),
        "failed": _failures(_half(digits, "test")),
        "bytes": _sizes(digits),
        "reading": _readings(config, lessons, tests),
        "epochs": config.epochs,
        "seed": config.seed,
    }
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(config.out, (json.dumps(result, indent=1) + "\n").encode())
    print(config.out)
    if config.images is not None:
        draw_pictures(digits, config.images, config.seed)
    if config.page is not None:
        fill_page(config.page, blocks(result))
        print(config.page)
    return result


def draw_pictures(digits: StrokeSet, folder: Path, seed: int = 0) -> None:
    """Draw test digits: dataset-digits.png, dataset-failed.png and dataset-writing.gif."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose(digits, ShowConfig(folder, split="test", seed=seed))
    made = {
        "dataset-digits.png": sheet(chosen.strokes, chosen.failed),
        "dataset-writing.gif": animate(chosen.strokes[:CLASSES]),
    }
    if digits.failed[digits.split == SPLITS.index("test")].any():
        bad = choose(digits, ShowConfig(folder, split="test", failed=True, count=40, seed=seed))
        made["dataset-failed.png"] = sheet(bad.strokes, bad.failed)
    for name, data in made.items():
        write_atomically(folder / name, data)
        print(folder / name)


def blocks(result: dict[str, Any]) -> dict[str, str]:
    """Markdown by name, of what `make_card` returns: "made", "counts", "quality", ..."""
    quality = {f"quality-{split}": _quality(result, split) for split in SPLITS}
    return {
        "made": _made(result["set"]),
        "counts": _counts(result["counts"]),
        "files": _files(result["bytes"]),
        **quality,
        "reading": _reading(result),
        "faults": _faults(result),
    }


def _exported(config: CardConfig, name: str, **source: Any) -> StrokeSet:
    """The strokes of a source, from its file if that was made with the same model and data."""
    path = config.files / name
    if not (path.exists() and _is_of(load_strokes(path), config, source["checkpoint"])):
        export(ExportConfig(out=path, data_dir=config.data_dir, limit=config.limit, **source))
    return load_strokes(path)


def _is_of(drawn: StrokeSet, config: CardConfig, checkpoint: Path | None) -> bool:
    data = {split: load_thinned(split, config.data_dir) for split in SPLITS}
    wanted = {
        "model_sha256": checkpoint and file_fingerprint(checkpoint),
        "data_sha256": {split: data_fingerprint(digits) for split, digits in data.items()},
        "count": {split: len(digits.labels[: config.limit]) for split, digits in data.items()},
    }
    return all(drawn.meta.get(name) == value for name, value in wanted.items())


def _half(drawn: StrokeSet, split: str) -> StrokeSet:
    return drawn.select(drawn.split == SPLITS.index(split))


def _by_class(drawn: StrokeSet, value: Any) -> dict[str, dict[str, Any]]:
    """A value for each split, of each class and, as "all", of the whole split."""
    values = {}
    for split in SPLITS:
        half = _half(drawn, split)
        values[split] = {
            str(label): value(half.select(half.label == label)) for label in range(CLASSES)
        }
        values[split]["all"] = value(half)
    return values


def _means(some: StrokeSet) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name, values in some.quality.items():
        finite = values[np.isfinite(values)].astype(np.float64)
        means[name] = float(finite.mean()) if len(finite) else None
    return means


def _failures(digits: StrokeSet) -> dict[str, float | None]:
    """Shares of the badly drawn digits that lack ink, have too much, and are read right still."""
    quality = {name: values[digits.failed] for name, values in digits.quality.items()}
    if not digits.failed.any():
        return {"lacking": None, "stray": None, "cnn": None}
    return {
        "lacking": float((quality["recall"] < FAILED_BELOW).mean()),
        "stray": float((quality["precision"] < FAILED_BELOW).mean()),
        "cnn": float(quality["cnn"].mean()),
    }


def _sizes(digits: StrokeSet) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits"
        sizes = {}
        for form in FORMATS:
            save_strokes(path, digits, form)
            sizes[form] = path.stat().st_size
    return sizes


def _readings(
    config: CardConfig, lessons: dict[str, StrokeSet], tests: dict[str, StrokeSet]
) -> dict[str, dict[str, dict[str, float]]]:
    """Shares read right, by what was learned from, what was read, and class or "all"."""
    options = StrokeReaderConfig(config.epochs, config.seed)
    readings: dict[str, dict[str, dict[str, float]]] = {}
    for source, lesson in lessons.items():
        reader = train_stroke_reader(common_form(lesson), options, progress=True)
        readings[source] = {}
        for name, test in tests.items():
            right = read_strokes(reader, common_form(test).strokes) == test.label
            by_class = {str(n): float(right[test.label == n].mean()) for n in np.unique(test.label)}
            readings[source][name] = {**by_class, "all": float(right.mean())}
    return readings


def _made(meta: dict[str, Any]) -> str:
    data = meta["data_sha256"]
    rows = [
        ["drawn by", f"`{meta['drawn_by']}`"],
        ["SHA-256 of the weights' file", f"`{meta['model_sha256']}`"],
        *(
            [
                f"SHA-256 of the thinned {split} images, of their labels",
                f"`{data[split]['thinned_images']}`, `{data[split]['labels']}`",
            ]
            for split in SPLITS
        ),
        ["pen lifted where log(softness) <=", f"{meta['lifted_log_softness']:g}"],
        ["badly drawn (`failed`)", meta["failed"]],
        ["versions", ", ".join(f"{name} {v}" for name, v in meta["versions"].items())],
    ]
    return table(["", ""], rows)


def _counts(counts: dict[str, dict[str, int]]) -> str:
    labels = [*map(str, range(CLASSES)), "all"]
    rows = [[split, *(f"{counts[split][label]:,}" for label in labels)] for split in SPLITS]
    return table(["", *labels], rows)


def _files(sizes: dict[str, int]) -> str:
    suffixes = {form: ", ".join(s for s, of in SUFFIXES.items() if of == form) for form in FORMATS}
    rows = [[form, suffixes[form], f"{sizes[form] / 1e6:.1f} MB"] for form in FORMATS]
    return table(["format", "suffix", "all digits"], rows)


def _quality(result: dict[str, Any], split: str) -> str:
    by_class = result["quality"][split]
    shown = [name for name in _SHOWN if name in by_class["all"]]
    rows = [
        [label, *(_cell(means[name], name) for name in shown)] for label, means in by_class.items()
    ]
    return table(["digit", *shown], rows)


def _reading(result: dict[str, Any]) -> str:
    readings = result["reading"]
    rows = [
        [SOURCES[source], *(_cell(found[name]["all"], "cnn") for name in SOURCES)]
        for source, found in readings.items()
    ]
    head = ["learned from \\ reads", "this set's test digits", "the tracer's", "people's"]
    by_class = [
        [SOURCES[source], *(_cell(share, "cnn") for share in found["people"].values())]
        for source, found in readings.items()
    ]
    return "\n\n".join(
        (
            table(head, rows),
            "People's, by digit:",
            table(["learned from", *readings["people"]["people"]], by_class),
            f"{result['epochs']} epochs, seed {result['seed']}.",
        )
    )


def _faults(result: dict[str, Any]) -> str:
    by_class, failed = result["quality"]["test"], result["failed"]
    classes = [label for label in by_class if label != "all" and result["counts"]["test"][label]]
    worst = max(classes, key=lambda label: by_class[label]["failed"])
    shares = {name: _cell(value, "failed") for name, value in failed.items()}
    lines = [
        f"- {_cell(by_class['all']['failed'], 'failed')} of the test digits are badly drawn, most "
        f"often {worst}s: {_cell(by_class[worst]['failed'], 'failed')}. Of the badly drawn, "
        f"{shares['lacking']} lack ink and {shares['stray']} have ink where there should be none; "
        f"the fixed network still reads {shares['cnn']} of them right."
    ]
    for label in classes:
        forward = by_class[label].get("forward")
        if forward is not None and forward < _FORWARD:
            lines.append(
                f"- People do not write {label}s in the order and direction of this set: only "
                f"{_cell(forward, 'forward')} are nearer to a human drawing as drawn than "
                f"backwards. The pen is lifted {_cell(by_class[label]['lifts'], 'lifts')} times a "
                "drawing."
            )
    return "\n".join(lines)


def _cell(number: float | None, metric: str) -> str:
    if number is None:
        return "-"
    if metric in _SHARES:
        return f"{100 * number:.1f} %"
    return f"{number:.{_DIGITS.get(metric, 2)}f}"
