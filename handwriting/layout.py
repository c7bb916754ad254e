"""Numbers laid out from single digits: one size, slant, spacing and baseline for a string.

Digits come from `donors.py`; the other characters are curves, made here. Everything varies as a
hand varies, by a generator that the caller gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handwriting.donors import UPRIGHT, Donors

DIGITS = "0123456789"
ALPHABET = DIGITS + ".,:+- "
SPACE = " "

# In heights of a digit.
_SPACE_WAY = 0.65

# Strokes of the other characters: start, middle and end of an arc of three to five points. On the
# baseline, height 1 as the digits.
_DOT = ((0.0, -0.06), (0.03, -0.01), (0.06, -0.05))
MARKS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    ".": (_DOT,),
    ",": (((0.06, -0.08), (0.08, 0.06), (-0.04, 0.22)),),
    ":": (((0.0, -0.56), (0.03, -0.51), (0.06, -0.55)), _DOT),
    "-": (((0.0, -0.45), (0.22, -0.48), (0.45, -0.45)),),
    "+": (
        ((0.0, -0.42), (0.24, -0.45), (0.48, -0.43)),
        ((0.25, -0.68), (0.24, -0.43), (0.22, -0.18)),
    ),
}
_MARK_POINTS = {".": 3, ",": 4, ":": 3, "-": 4, "+": 4}


@dataclass(frozen=True, eq=False)
class Writing:
    """A written string.

    Attributes:
        text: what it says.
        strokes: (P, 3) float32: x, y, and 1 where the pen is lifted after this point. In heights of
            a digit, x from about 0 to the right, y down, the baseline begins at y = 0.
        characters: (P,) int: which character of the text a point belongs to.
    """

    text: str
    strokes: np.ndarray
    characters: np.ndarray


@dataclass(frozen=True)
class Hand:
    """How a string is written as a whole; lengths in heights of a digit.

    Attributes:
        slant: how much more than MNIST's digits of its class a digit leans, x per height.
        width: stretch along x.
        gap: between the ink of neighbours, measured along the slant.
        rise: of the baseline per way to the right.
        wave: height, length and phase of the baseline's wave.
        variation: of all that differs from digit to digit; 1 is usual, 0 is none.
    """

    slant: float
    width: float
    gap: float
    rise: float
    wave: tuple[float, float, float]
    variation: float = 1.0

    @staticmethod
    def draw(random: np.random.Generator, slant: float, variation: float = 1.0) -> Hand:
        """A hand of about this slant, as the strings have that the pen learns from."""
        wave = abs(random.normal(0, 0.03)), random.uniform(3, 9), random.uniform(0, 2 * math.pi)
        return Hand(
            slant=slant + random.normal(0, 0.04),
            width=math.exp(random.normal(0, 0.06)),
            gap=random.uniform(0.18, 0.42),
            rise=random.normal(0, 0.012) * variation,
            wave=(wave[0] * variation, *wave[1:]),
            variation=variation,
        )

    def baseline(self, x: np.ndarray | float) -> np.ndarray | float:
        """y of the baseline at x."""
        height, length, phase = self.wave
        turn = 2 * math.pi / length
        return height * (np.sin(turn * x + phase) - math.sin(phase)) - self.rise * x


def check_text(text: str) -> str:
    """Give `text` without spaces around it.

    Raises:
        TypeError: it is no string.
        ValueError: it says nothing, or has a character that cannot be written; names that.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    for character in text:
        if character not in ALPHABET:
            raise ValueError(
                f"text has {character!r}, which cannot be written; there are digits, space, "
                "point, comma, colon, plus and minus"
            )
    if not text.strip():
        raise ValueError(f"text must have at least one digit or mark, got {text!r}")
    return text.strip()


def lay_out(
    text: str,
    donors: Donors,
    choose: Callable[[int], int],
    hand: Hand,
    random: np.random.Generator,
) -> Writing:
    """Set digits and marks side by side.

    Args:
        text: from `check_text`.
        donors: the digits.
        choose: the number of a donor for a label; called once for each digit of the text, in order.
        hand: how.
        random: for what differs from digit to digit.
    """
    lean = hand.slant + UPRIGHT
    pieces, characters, pen, spare = [], [], 0.0, 0.0
    for number, character in enumerate(text):
        if character == SPACE:
            pen += _SPACE_WAY * math.exp(random.normal(0, 0.12 * hand.variation))
            continue
        if character in DIGITS:
            glyph = _digit(donors, choose(int(character)), hand, random)
        else:
            glyph = _mark(character, hand, random)
        # Along the slant, so that leaning neighbours do not come near each other.
        upright = glyph[:, 0] + lean * (glyph[:, 1] + 0.5)
        gap = hand.gap * math.exp(random.normal(0, 0.18 * hand.variation))
        left = pen + (gap if pieces else 0.0)
        glyph[:, 0] += left - upright.min()
        pen = left + np.ptp(upright)
        middle = float(glyph[:, 0].mean())
        glyph[:, 1] += hand.baseline(middle) + random.normal(0, 0.02 * hand.variation)
        spare = min(spare, float(glyph[:, 0].min()))
        pieces.append(glyph)
        characters.append(np.full(len(glyph), number))
    strokes = np.concatenate(pieces).astype(np.float32)
    strokes[:, 0] -= spare
    return Writing(text, strokes, np.concatenate(characters))


def _digit(donors: Donors, number: int, hand: Hand, random: np.random.Generator) -> np.ndarray:
    """(P, 3) of a donor, as the hand would write it, its left bottom corner at the origin."""
    points, lifted = donors.digit(number)
    usual = random.normal(0, hand.variation, 4)
    height = math.exp(0.04 * usual[0])
    width = height * hand.width * math.exp(0.04 * usual[1])
    # What is left of a digit's own slant is as much as the slants differ within one writer.
    own = 0.45 * hand.variation
    shear = (hand.slant - donors.slants[number]) * (1 - own) + 0.03 * usual[2]
    turn = 0.02 * usual[3]
    x = points[:, 0] * width - shear * points[:, 1] - turn * points[:, 1]
    y = points[:, 1] * height + turn * points[:, 0]
    return np.stack((x, y, lifted), axis=1).astype(np.float64)


def _mark(character: str, hand: Hand, random: np.random.Generator) -> np.ndarray:
    """(P, 3) of a character that is no digit."""
    t = np.linspace(0, 1, _MARK_POINTS[character])[:, None]
    size = math.exp(random.normal(0, 0.08 * hand.variation))
    spread = 0.012 if character in ".:" else 0.03
    chains = []
    for arc in MARKS[character]:
        start, middle, end = np.array(arc) + random.normal(0, spread * hand.variation, (3, 2))
        through = 2 * middle - (start + end) / 2  # the control point of an arc through the middle
        chain = (1 - t) ** 2 * start + 2 * t * (1 - t) * through + t**2 * end
        chain = np.concatenate((chain, t == 1), axis=1)
        chains.append(chain)
    glyph = np.concatenate(chains)
    anchor = glyph[:, 1].mean()
    glyph[:, 0] *= size
    glyph[:, 1] = anchor + size * (glyph[:, 1] - anchor)
    glyph[:, 0] -= (hand.slant + UPRIGHT) * glyph[:, 1]
    return glyph


def random_text(random: np.random.Generator, length: int) -> str:
    """A string of digits and marks as people write numbers.

    Half are plain; others are grouped, have a point, a comma, a colon or a sign, or any mixture.

    Args:
        random: the generator.
        length: of characters, at least 1; spaces at the ends are then left out.
    """
    digits = "".join(DIGITS[d] for d in random.integers(0, 10, length))
    kind = random.random()
    if kind < 0.5 or length < 3:
        return digits
    cut = int(random.integers(1, length - 1))
    if kind < 0.82:
        mark = "  .,:+-"[int(7 * (kind - 0.5) / 0.32)]
        cut = 0 if mark in "+-" else cut
        return digits[:cut] + mark + digits[cut + 1 :]
    marks = random.choice([*MARKS, SPACE], length)
    chosen = random.random(length) < 0.35
    mixed = "".join(m if c else d for d, m, c in zip(digits, marks, chosen, strict=True)).strip()
    return mixed or digits
