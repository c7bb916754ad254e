"""Digits to write numbers with: single digits' strokes made ready to stand beside each other.

Each digit gets one height, points where the pen turns, and the slant it leans by; digits of one
hand are found by their place in MNIST, or by the styles that ship with the package. Putting them in
a row is left to `layout.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from handwriting.files import one_line, unpack_npz
from handwriting.formats import SPLITS, StrokeSet
from handwriting.metrics import check_drawings, sample

STYLES_FILE = Path(__file__).parent / "data_files" / "pen_styles.npz"

# Of a digit's height. A point every SPACING along the pen's way; a turn counts as a way of so much
# per radian, so that corners keep their points.
SPACING = 0.27
_TURN = 0.11

# A jump of the lifted pen shorter than this is drawn: it is a gap in a line, not a new line. The
# exporting model lifts the pen in nearly all 8s, median jump 0.22, where nobody does: drawn, these
# jumps leave the share of ink off the skeleton at 2 %, while in 5s it would go from 2 to 10 %.
_GAP = 0.15
_GAP_OF_8 = 0.5
# A shorter pen-down chain than this is dropped.
_SPECK = 0.06

_BLUNT = math.cos(math.radians(55))  # of a turn that is no corner

_LOOP_OF_6 = 250.0  # degrees that the pen turns to the left in a 6 that has a loop

# Mean lean of the exported training digits of MNIST, 0 to 9: -cov(x, y) / var(y) along the ink. A
# digit's slant is what it leans more; that of a hand that writes upright is about -UPRIGHT.
CLASS_LEAN = np.array([0.23, 0.25, 0.09, 0.02, 0.06, 0.19, -0.03, -0.01, 0.17, -0.02])
UPRIGHT = 0.25

# Digits of one writer follow each other in MNIST's training set, two places apart: the slants of
# digits 2 places apart correlate by 0.43, 80 apart by 0.31, 400 apart by 0.16, 1 apart by -0.15.
_NEIGHBOURS = 60


@dataclass(frozen=True, eq=False)
class Donors:
    """Digits of height 1 on a baseline at y = 0, y down, so that they reach up to y = -1.

    Attributes:
        points: (n, P, 2) float32 x, y; what is beyond a digit's count is 0.
        lifted: (n, P) bool: whether the pen is lifted after this point; after the last it is.
        counts: (n,) points of each digit.
        labels: (n,) 0 to 9.
        slants: (n,) how much more than its class each leans to the right: x per height.
        places: (n,) rising: place in MNIST's training set, or a style's number.
    """

    points: np.ndarray
    lifted: np.ndarray
    counts: np.ndarray
    labels: np.ndarray
    slants: np.ndarray
    places: np.ndarray

    def digit(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, 2) and lifted (P,) of one digit."""
        count = self.counts[number]
        return self.points[number, :count], self.lifted[number, :count]

    @cached_property
    def _streams(self) -> dict[tuple[int, int], np.ndarray]:
        """Numbers of the digits of (parity of the place, label), rising."""
        return {
            (parity, label): np.flatnonzero((self.places % 2 == parity) & (self.labels == label))
            for parity in range(2)
            for label in range(10)
        }

    def complete(self) -> bool:
        """Whether `neighbour` finds every digit from everywhere."""
        return all(len(stream) for stream in self._streams.values())

    def neighbour(self, centre: int, label: int, random: np.random.Generator) -> int:
        """A digit of `label` by, most likely, the writer of digit `centre` of MNIST's training set.

        It stands within _NEIGHBOURS places of it, at a distance that is even; if there is none, it
        is the nearest one.
        """
        place = self.places[centre]
        stream = self._streams[int(place % 2), label]
        places = self.places[stream]
        first, last = np.searchsorted(places, (place - _NEIGHBOURS, place + _NEIGHBOURS + 1))
        if first == last:
            return int(stream[np.argmin(np.abs(places - place))])
        return int(stream[random.integers(first, last)])

    @cached_property
    def hand_slants(self) -> np.ndarray:
        """(n,) mean slant of the digits around each one, as `neighbour` finds them."""
        result = np.empty(len(self.places))
        for parity in range(2):
            stream = np.flatnonzero(self.places % 2 == parity)
            places, sums = self.places[stream], np.append(0, self.slants[stream].cumsum())
            first = np.searchsorted(places, places - _NEIGHBOURS)
            last = np.searchsorted(places, places + _NEIGHBOURS + 1)
            result[stream] = (sums[last] - sums[first]) / (last - first)
        return result

    def select(self, which: np.ndarray) -> Donors:
        """The digits with these numbers, or where this is true."""
        names = ("points", "lifted", "counts", "labels", "slants", "places")
        return Donors(*(getattr(self, name)[which] for name in names))


def prepare(drawings: np.ndarray, labels: np.ndarray, places: np.ndarray) -> Donors:
    """Make drawings of digits ready.

    Args:
        drawings: (n, P, 3): x, y in units of the canvas side, and 1 where the pen is lifted after
            this point.
        labels: (n,), 0 to 9.
        places: (n,) integers, rising, as in `Donors`.

    Raises:
        ValueError: a form is wrong, or a drawing has no ink.
    """
    check_drawings(drawings)
    if not len(drawings) == len(labels) == len(places):
        raise ValueError(f"{len(drawings)} drawings, {len(labels)} labels, {len(places)} places")
    digits = []
    for number, (drawing, label) in enumerate(zip(drawings, labels, strict=True)):
        try:
            digits.append(_ready(drawing, _GAP_OF_8 if label == 8 else _GAP))
        except ValueError as error:
            raise ValueError(f"drawing {number}: {error}") from error
    counts = np.array([len(points) for points, _ in digits], int)
    points = np.zeros((len(digits), counts.max(initial=0), 2), np.float32)
    lifted = np.zeros(points.shape[:2], bool)
    for number, (its_points, its_lifted) in enumerate(digits):
        points[number, : counts[number]] = its_points
        lifted[number, : counts[number]] = its_lifted
    labels = np.asarray(labels, int)
    slants = lean(drawings) - CLASS_LEAN[labels]
    return Donors(points, lifted, counts, labels, slants, np.asarray(places, int))


def usable(drawn: StrokeSet) -> np.ndarray:
    """(n,) bool: training digits that are well drawn, and no sixes without a loop.

    7 % of MNIST's sixes come out as an L, since their loop is filled with ink; alone they may pass
    for a six, in a number they do not.
    """
    mask = (drawn.split == SPLITS.index("train")) & ~drawn.failed
    return mask & ((drawn.label != 6) | (winding(drawn.strokes) <= -_LOOP_OF_6))


def winding(drawings: np.ndarray) -> np.ndarray:
    """Sum of the turns along (n, P, 3) drawings, lifted pen included: (n,) degrees, + to the right.

    To the right is clockwise, since y is down.
    """
    steps = np.diff(drawings[..., :2].astype(np.float64), axis=1)
    turns = np.diff(np.arctan2(steps[..., 1], steps[..., 0]), axis=1)
    return np.degrees(((turns + np.pi) % (2 * np.pi) - np.pi).sum(axis=1))


def lean(drawings: np.ndarray) -> np.ndarray:
    """How far the ink of (n, P, 3) drawings leans to the right: (n,) x per height."""
    along = sample(drawings, 64)[0]
    along -= along.mean(axis=1, keepdims=True)
    height = (along[..., 1] ** 2).sum(axis=1)
    return -(along[..., 0] * along[..., 1]).sum(axis=1) / np.where(height > 0, height, 1)


def resample(chain: np.ndarray, spacing: float = SPACING) -> np.ndarray:
    """Put points along a polyline (P, 2), evenly by its length and its turns: (Q, 2), Q >= 2.

    Points where the pen turns sharply stay. Both ends do, too.
    """
    steps = np.diff(chain, axis=0)
    lengths = np.hypot(*steps.T)
    chain, steps = chain[np.append(True, lengths > 0)], steps[lengths > 0]
    lengths = lengths[lengths > 0]
    directions = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.abs((np.diff(directions) + np.pi) % (2 * np.pi) - np.pi)
    # Each turn is half an interval before its point and half after, which has no length.
    turns = np.minimum(_TURN * turns, 0.9 * spacing)
    way = np.insert(lengths, np.arange(1, len(lengths)), turns).cumsum()
    places = np.repeat(np.arange(len(chain)), 2)[1:-1]
    at = np.linspace(0, way[-1], max(1, round(way[-1] / spacing)) + 1)
    along = np.append(0, lengths.cumsum())
    return np.stack(
        [np.interp(np.interp(at, np.append(0, way), along[places]), along, c) for c in chain.T], 1
    )


@lru_cache(maxsize=1)
def load_styles() -> Donors:
    """The digits that ship with the package; `places` are the numbers of their styles.

    Raises:
        ValueError: their file is damaged.
        OSError: this copy of the package came without it.
    """
    try:
        arrays = unpack_npz(STYLES_FILE)
        strokes = arrays["strokes"].astype(np.float64)
        strokes[..., :2] /= 65535
        return prepare(strokes, arrays["label"].astype(int), arrays["style"].astype(int))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{STYLES_FILE}: no styles ({one_line(error)})") from error


def _ready(drawing: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 2) and lifted (P,) of a drawing (Q, 3), of height 1 and on the baseline."""
    drawing = drawing.astype(np.float64)
    chains = _chains(drawing[:, :2], drawing[:, 2] > 0.5)
    if not chains:
        raise ValueError("nothing is drawn")
    ink = np.concatenate(chains)
    low, high = ink.min(axis=0), ink.max(axis=0)
    # A very flat digit would grow too wide.
    scale = 1 / max(high[1] - low[1], 0.6 * (high[0] - low[0]), 1e-3)
    origin = np.array([low[0], high[1]])
    chains = _joined([(c - origin) * scale for c in chains], gap)
    chains = [resample(_smoothed(chain)) for chain in chains]
    lifted = [np.arange(len(chain)) == len(chain) - 1 for chain in chains]
    return np.concatenate(chains), np.concatenate(lifted)


def _chains(points: np.ndarray, lifted: np.ndarray) -> list[np.ndarray]:
    """The pen-down parts of a drawing that have a length."""
    parts = np.split(points, np.flatnonzero(lifted[:-1]) + 1)
    return [part for part in parts if np.ptp(part, axis=0).any()]


def _smoothed(chain: np.ndarray) -> np.ndarray:
    """Half the way, twice, to the middle of the neighbours, but for ends and sharp turns.

    Straight lines of a thinned image are stairs, which drawings of it follow a little.
    """
    chain = chain.copy()
    for _ in range(2):
        into, out = chain[1:-1] - chain[:-2], chain[2:] - chain[1:-1]
        cosine = (into * out).sum(axis=1)
        blunt = cosine > _BLUNT * np.hypot(*into.T) * np.hypot(*out.T)
        chain[1:-1] += np.where(blunt[:, None], (out - into) / 4, 0)
    return chain


def _joined(chains: list[np.ndarray], gap: float) -> list[np.ndarray]:
    """Chains without gaps and specks."""
    joined = [chains[0]]
    for chain in chains[1:]:
        if np.hypot(*(chain[0] - joined[-1][-1])) < gap:
            joined[-1] = np.concatenate((joined[-1], chain))
        else:
            joined.append(chain)
    lengths = [np.hypot(*np.diff(chain, axis=0).T).sum() for chain in joined]
    return [c for c, length in zip(joined, lengths, strict=True) if length >= _SPECK] or [
        joined[int(np.argmax(lengths))]
    ]
