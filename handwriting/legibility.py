"""How well written numbers can be read, and how much they are like people's.

Random strings are written, cut into digits where the writing says that they are, and shown to the
fixed reader, which knows nothing of what they should be. Reading is left to `reader.py`, comparing
with people to `people.py`, writing to `synthesis.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handwriting import metrics
from handwriting._extras import require
from handwriting.checkpoint import load_pen
from handwriting.data import load_thinned
from handwriting.dtw import dtw, path_points, unit_box
from handwriting.files import write_atomically
from handwriting.layout import DIGITS, Writing
from handwriting.models.writer import IMAGE_SIZE
from handwriting.paper import smooth
from handwriting.pendigits import load_pendigits
from handwriting.people import likeness
from handwriting.reader import Reader, load_reader, read
from handwriting.samples import Samples
from handwriting.synthesis import NEATNESS, LostError, compose
from handwriting.train_pen import draw_string, training_donors

LONGEST = 12  # digits of a string
COPY = 0.02  # of a digit's box: nearer than this, by DTW, no one writes a digit twice

METRICS = {
    "digits": "digits that were to be written",
    "read": "share of them that the fixed reader reads right; what is not written is not",
    "strings": "share of the strings of which every digit is",
    "lost": "strings that were given up, of which none is",
    "dtw": "mean-step DTW to the nearest human drawing of the class, in a unit box",
    "forward": "share of the digits that are nearer to a human drawing as drawn than backwards",
    "variety": "the same DTW between a digit and itself in a second writing of the string, median",
    "repeat": "the same between two digits of one class in one string, median",
    "copies": f"share of those that are nearer than {COPY}",
}

# The longer side of a thinned digit's lines, px: that of most thinned digits of MNIST.
_SIDE = 17.0


@dataclass(frozen=True)
class LegibilityConfig:
    """Options of a measurement.

    Attributes:
        method: "network" or "collage".
        checkpoint: file of a pen; None: the one that ships with the package.
        strokes: a file that `export` wrote, to measure strings laid out from its digits, as those
            are that the network learns from; None: what the method writes.
        count: strings of 1 to LONGEST digits.
        neatness, style: as in `synthesis.write`.
        seed: of the strings and of how they are written.
        out: JSON file for the figures; None: they are printed only.
        data_dir: folder of the data, None for what `load_thinned` and `load_pendigits` find.
    """

    method: str = "network"
    checkpoint: Path | None = None
    strokes: Path | None = None
    count: int = 1000
    neatness: float = NEATNESS
    style: int | None = None
    seed: int = 0
    out: Path | None = None
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value}")


def measure_legibility(config: LegibilityConfig) -> dict[str, Any]:
    """Measure what METRICS says; print it, and write it where that is asked for.

    Raises:
        ValueError: the data or the checkpoint is damaged, or there is no such method or style.
        OSError: a file cannot be read or written.
    """
    reader = load_reader(load_thinned("train", config.data_dir))
    people = load_pendigits("train", config.data_dir)
    write = _writer(config)
    figures = measure(write, random_strings(config.count, config.seed), reader, people, config.seed)
    for name, value in figures.items():
        print(f"{name:8} {value:g}" if isinstance(value, int) else f"{name:8} {value:.4f}")
    if config.out is not None:
        options = {name: str(value) for name, value in vars(config).items() if value is not None}
        text = json.dumps({"options": options, "figures": figures, "metrics": METRICS})
        write_atomically(config.out, f"{text}\n".encode())
    return figures


def _writer(config: LegibilityConfig) -> Callable[[str, int], Writing]:
    """What writes a text with a seed."""
    if config.strokes is not None:
        donors = training_donors(config.strokes)
        return lambda text, seed: draw_string(donors, text, np.random.default_rng(seed))
    pen = None if config.checkpoint is None else load_pen(config.checkpoint)
    options = {name: getattr(config, name) for name in ("method", "style", "neatness")}
    return lambda text, seed: compose(text, seed=seed, pen=pen, **options)


def random_strings(count: int, seed: int) -> list[str]:
    """Strings of 1 to LONGEST digits; all lengths and all digits are equally frequent."""
    random = np.random.default_rng(seed)
    return [
        "".join(DIGITS[d] for d in random.integers(0, 10, random.integers(1, LONGEST + 1)))
        for _ in range(count)
    ]


def measure(
    write: Callable[[str, int], Writing],
    texts: list[str],
    reader: Reader,
    people: Samples,
    seed: int = 0,
) -> dict[str, float]:
    """Write strings and measure them.

    Args:
        write: writes a text with a seed, or raises `LostError`.
        texts: strings of digits.
        reader: the fixed reader.
        people: human drawings of every digit.
        seed: of the first string; the others have those that follow.

    Returns:
        A number for each name in METRICS.

    Raises:
        LostError: nothing was written.
    """
    cut = []
    bar = require("tqdm").tqdm(texts, desc="writing", unit=" strings", disable=None)
    for number, text in enumerate(bar):
        try:
            cut.append(cut_digits(write(text, seed + number)))
        except LostError:
            cut.append({})
    where = [(string, place) for string, digits in enumerate(cut) for place in digits]
    if not where:
        raise LostError(f"all {len(texts)} strings were given up")
    drawings = _stacked([cut[string][place] for string, place in where])
    wanted = np.array([int(texts[string][place]) for string, place in where])
    right = read(reader, metrics.render(drawings)) == wanted
    by_string = np.zeros(len(texts))
    np.add.at(by_string, [string for string, _ in where], right)
    lengths = np.array([len(text) for text in texts])
    like = likeness(drawings, wanted, people.strokes.numpy(), people.labels.numpy())
    repeats = _apart(*_pairs_in_strings(where, wanted, drawings))
    return {
        "digits": int(lengths.sum()),
        "read": float(by_string.sum() / lengths.sum()),
        "strings": float((by_string == lengths).mean()),
        "lost": sum(not digits for digits in cut),
        "dtw": float(like["dtw"].mean()),
        "forward": float(like["forward"].mean()),
        "variety": float(np.median(_second(write, texts, cut, seed + len(texts)))),
        "repeat": float(np.median(repeats)),
        "copies": float((repeats < COPY).mean()),
    }


def cut_digits(writing: Writing) -> dict[int, np.ndarray]:
    """The digits of a string, each as (P, 3) strokes in the middle of a canvas as MNIST's are.

    A digit is the lines that the writing says belong to its character: in a collage they were put
    there, in what the network wrote they are those that its attention was at the character for.

    Returns:
        By place in the text; digits that have no line are missing.
    """
    digits = {}
    for place in np.unique(writing.characters):
        if writing.text[place] in DIGITS:
            strokes = writing.strokes[writing.characters == place]
            digits[int(place)] = _framed(smooth(strokes))
    return digits


def _framed(strokes: np.ndarray) -> np.ndarray:
    """Strokes of a digit with the size that thinned digits have, their ink about the middle."""
    points = strokes[:, :2]
    scale = _SIDE / IMAGE_SIZE / max(float(np.ptp(points, axis=0).max()), 1e-6)
    framed = np.column_stack((points * scale, strokes[:, 2]))
    framed[-1, 2] = 1
    middle = metrics.sample(framed[None])[0][0].mean(axis=0)
    framed[:, :2] += 0.5 - middle
    return framed


def _stacked(drawings: list[np.ndarray]) -> np.ndarray:
    """Drawings of several lengths as one array: the last point, lifted, is repeated."""
    longest = max(map(len, drawings), default=2)
    pads = [((0, longest - len(drawing)), (0, 0)) for drawing in drawings]
    padded = [np.pad(one, pad, mode="edge") for one, pad in zip(drawings, pads, strict=True)]
    return np.array(padded).reshape(-1, longest, 3)


def _apart(left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    """DTW between digits in a unit box, pair by pair; infinite if there are no pairs."""
    if not left:
        return np.array([np.inf])
    paths = [unit_box(path_points(_stacked(part))) for part in (left, right)]
    return dtw(*paths)


def _pairs_in_strings(
    where: list[tuple[int, int]], labels: np.ndarray, drawings: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All pairs of digits of one class in one string."""
    left, right = [], []
    for one, (string, _) in enumerate(where):
        for other in range(one + 1, len(where)):
            if where[other][0] != string:
                break
            if labels[one] == labels[other]:
                left.append(drawings[one])
                right.append(drawings[other])
    return left, right


def _second(
    write: Callable[[str, int], Writing],
    texts: list[str],
    cut: list[dict[int, np.ndarray]],
    seed: int,
) -> np.ndarray:
    """How far the digits of the first hundred strings are from those of a second writing."""
    left, right = [], []
    for number, (text, digits) in enumerate(zip(texts[:100], cut, strict=False)):
        try:
            again = cut_digits(write(text, seed + number))
        except LostError:
            continue
        for place in digits.keys() & again.keys():
            left.append(digits[place])
            right.append(again[place])
    return _apart(left, right)
