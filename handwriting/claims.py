"""What the post says of its pictures, and we of rung 9, as comparisons of figures; and the answers.

Where the figures come from is left to experiments.py, how they are shown to tables.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from handwriting.ladder import CONSTANT, REFERENCES

# "Changes little": by less than seeds differ, or by less than this share.
LITTLE = 0.1

HOLDS, HOLDS_NOT, UNCLEAR, NOT_RUN = "holds", "does not hold", "unclear", "not run"


@dataclass(frozen=True)
class Subject:
    """Whose figure: that of a rung or of one of REFERENCES, of the digits `classes` if given.

    For rung 8, `constant` is the value of the images, as a key of its results.
    """

    rung: str
    classes: tuple[int, ...] = ()
    constant: str | None = None


@dataclass(frozen=True)
class Check:
    """A comparison: `left` has "more" or "less" of a metric than `right`, or "as much"."""

    metric: str
    left: Subject
    relation: str
    right: Subject


@dataclass(frozen=True)
class Claim:
    """Something that the post says.

    Attributes:
        text: it, in our words.
        checks: what should come out if it is so.
        pictures: names of the figures to look at.
    """

    text: str
    checks: tuple[Check, ...]
    pictures: tuple[str, ...]


def _checks(left: Subject, right: Subject, **relations: str) -> tuple[Check, ...]:
    return tuple(Check(metric, left, how, right) for metric, how in relations.items())


def _rung(name: str, *classes: int) -> Subject:
    return Subject(name, classes)


def _constant(value: float) -> Subject:
    return Subject(CONSTANT, constant=str(value))


CLAIMS = {
    "abuse": Claim(
        "The writer abuses the neural line model: segments that do not show, lines drawn twice.",
        _checks(_rung("1"), _rung("2"), abuse="more", retrace="more", redundancy="more"),
        ("line_model", "rung1"),
    ),
    "soft": Claim(
        "With soft lines the results are better.",
        _checks(_rung("2"), _rung("1"), f1="more", failed="less", cnn="more"),
        ("rung2",),
    ),
    "simple": Claim(
        "0, 1 and 7 are drawn nearly the same from run to run, other digits are not.",
        (Check("variation", _rung("2", 0, 1, 7), "less", _rung("2", 2, 3, 4, 5, 6, 8, 9)),),
        ("rung2",),
    ),
    "dropout": Claim(
        "Dropout changes little.",
        _checks(_rung("3"), _rung("2"), f1="as much", failed="as much", dtw="as much"),
        ("rung3",),
    ),
    "max": Claim(
        "With the maximum the writer cares less about crossings.",
        _checks(_rung("4"), _rung("2"), crossings="more", retrace="more", redundancy="more"),
        ("rung4",),
    ),
    "losses": Claim(
        "The turning and length losses make 6 and 8 better, more like what people write.",
        _checks(
            _rung("5b", 6, 8), _rung("2", 6, 8), dtw="less", turn_cos="more", failed="less",
            retrace="less",
        ),
        ("rung5a", "rung5b"),
    ),
    "ensemble": Claim(
        "A small model for each digit is the best so far, and varies less from run to run.",
        (
            *_checks(_rung("6"), _rung("5b"), f1="more", failed="less", dtw="less"),
            Check("variation", _rung("6"), "less", _rung("2")),
        ),
        ("rung6",),
    ),
    "samples": Claim(
        "With collected strokes it looks almost as if a person wrote.",
        (
            *_checks(
                _rung("7"), _rung("6"), dtw="less", forward="more", recovery_dtw="less",
                recovery_direction="more", recovery_start="more",
            ),
            *_checks(_rung("7"), Subject("people"), dtw="as much", forward="as much"),
        ),
        ("rung7",),
    ),
    "constant": Claim(
        "Images of zeros give small digits, images of ones large ones, and all else than zero the "
        "same as ones.",
        (
            Check("height", _constant(0.0), "less", _rung("7")),
            Check("height", _constant(1.0), "more", _rung("7")),
            Check("unlike_ones", _constant(0.25), "less", _constant(0.0)),
        ),
        ("rung8",),
    ),
    "mended": Claim(
        "Blurred images and strokes of many people leave fewer digits failed, and write others' "
        "digits more as they did.",
        (
            *_checks(
                _rung("9"), _rung("7"), failed="less", recovery_dtw="less",
                recovery_direction="more", recovery_start="more",
            ),
            Check("recovery_dtw", _rung("9"), "less", Subject("tracer")),
        ),
        ("rung9",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What came of a check: the figures of both, None where there are none, and the verdict.

    `spread` is the widest difference between seeds of either rung, None with one seed.
    """

    left: float | None
    right: float | None
    spread: float | None
    verdict: str


def answer(check: Check, results: dict[str, Any]) -> Answer:
    """Compare figures of experiments.json.

    "more" and "less" hold if the means differ that way by more than the spread, do not hold if they
    differ so the other way, and are unclear in between. "as much" holds if they differ by no more
    than the spread, or than LITTLE of the right one.
    """
    left, right = (values(results, check.metric, one) for one in (check.left, check.right))
    if not left or not right:
        return Answer(mean(left), mean(right), None, NOT_RUN)
    spreads = [max(some) - min(some) for some in (left, right) if len(some) > 1]
    spread = max(spreads, default=None)
    difference = mean(left) - mean(right)
    if check.relation == "as much":
        little = max(spread or 0, LITTLE * abs(mean(right)))
        verdict = HOLDS if abs(difference) <= little else HOLDS_NOT
    else:
        ahead = difference if check.relation == "more" else -difference
        verdict = UNCLEAR if abs(ahead) <= (spread or 0) else HOLDS if ahead > 0 else HOLDS_NOT
    return Answer(mean(left), mean(right), spread, verdict)


def verdict(answers: list[Answer]) -> str:
    """Of a claim: that of its checks where they agree, else "in part"."""
    kinds = {one.verdict for one in answers}
    return kinds.pop() if len(kinds) == 1 else "in part"


def values(results: dict[str, Any], metric: str, subject: Subject) -> list[float]:
    """A figure of experiments.json, of each seed; empty if it is not there.

    Of several digits it is the mean of theirs, each digit counting the same.
    """
    if metric == "variation":
        records = [results["variation"].get(subject.rung)]
    elif subject.constant is not None:
        records = [results["constant"].get(subject.constant)]
    elif subject.rung in REFERENCES:
        records = [results["references"].get(subject.rung)]
    else:
        runs = results["runs"].get(subject.rung, {})
        records = [runs[seed] for seed in sorted(runs)]
    found = []
    for record in filter(None, records):
        tables = [record["by_class"].get(str(digit), {}) for digit in subject.classes]
        parts = [table.get(metric) for table in tables or [record["figures"]]]
        if None not in parts:
            found.append(float(np.mean(parts)))
    return found


def mean(numbers: list[float]) -> float | None:
    """The mean, None of nothing."""
    return float(np.mean(numbers)) if numbers else None
