"""Writes numbers: by the network, or as a collage of digits of one hand.

The network is `models/pen.py`; the collage is laid out by `layout.py` from the styles that ship
with the package. Putting what is written on paper is left to `paper.py`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from handwriting.checkpoint import load_pen
from handwriting.donors import Donors, load_styles
from handwriting.layout import ALPHABET, DIGITS, MARKS, SPACE, Hand, Writing, check_text, lay_out
from handwriting.models.pen import SCALE, Outputs, Pen, choose, inputs, log_density, one_thread

WEIGHTS = Path(__file__).parent / "data_files" / "weights" / "pen.safetensors"
METHODS = ("network", "collage")
NEATNESS = 0.4  # unless another is asked for
MAX_LENGTH = 100  # characters of a text

# Characters that the network writes several times at once, of which one is kept.
_PIECE = 4
_CANDIDATES = 8
_ROUNDS = 3  # in which it may do so, until one is whole
# Points that it may take for a character: the digits that it learned from have at most 24.
_MAX_POINTS = 26
# The least and most lines of each character.
_LINES = dict.fromkeys(DIGITS, (1, 2))
_LINES |= {mark: (len(arcs), len(arcs)) for mark, arcs in MARKS.items()}
# Told to follow the text, so that the attention has where to go on to.
_NEXT = "0"

# Characters before a piece that the network is shown, and digits of a style.
_CONTEXT = 6


class LostError(ValueError):
    """The network did not write a text as a whole, however often it tried."""


def write(
    text: str,
    *,
    method: str = "network",
    style: int | None = None,
    neatness: float = NEATNESS,
    seed: int = 0,
) -> np.ndarray:
    """Write a number as a person does.

    Args:
        text: digits, spaces and . , : + -, at most MAX_LENGTH; spaces around it are left out.
        method: "network", or "collage": digits of the shipped styles side by side.
        style: the hand to write in, from 0 to `styles()` - 1; None: by the network's own choice,
            or any for the collage.
        neatness: at least 0; the larger, the less varies. 0 varies as people do.
        seed: at least 0; the same gives the same strokes on the same machine and versions.

    Returns:
        (P, 3) float32: x, y, and 1 where the pen is lifted after this point. In heights of a digit:
        x from 0 to the right, y down, the baseline begins at y = 0.

    Raises:
        TypeError, ValueError: an argument is wrong; names it, or the character that is.
        LostError: the network lost its way in the text each time that it tried.

    Example:
        >>> strokes = handwriting.write("31415 926", seed=7)
    """
    return compose(text, method=method, style=style, neatness=neatness, seed=seed).strokes


def compose(
    text: str,
    *,
    method: str = "network",
    style: int | None = None,
    neatness: float = NEATNESS,
    seed: int = 0,
    pen: Pen | None = None,
) -> Writing:
    """`write`, with the character that each point belongs to.

    Args:
        pen: the network to write with; None: the shipped one. The others as in `write`.
    """
    text = check_text(text)
    if len(text) > MAX_LENGTH:
        raise ValueError(f"text must have at most {MAX_LENGTH} characters, got {len(text)}")
    if method not in METHODS:
        raise ValueError(f"method must be {' or '.join(METHODS)}, got {method!r}")
    if style is not None and (type(style) is not int or not 0 <= style < styles()):
        raise ValueError(f"style must be an integer from 0 to {styles() - 1}, got {style!r}")
    if not 0 <= neatness < math.inf:
        raise ValueError(f"neatness must be at least 0 and finite, got {neatness}")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    if method == "collage":
        return _collage(text, style, neatness, np.random.default_rng(seed))
    with one_thread():
        return _network(text, pen or shipped_pen(), style, neatness, seed)


def styles() -> int:
    """How many styles ship with the package."""
    return int(load_styles().places[-1]) + 1


@lru_cache(maxsize=1)
def shipped_pen() -> Pen:
    """The network that ships with the package."""
    return load_pen(WEIGHTS)


def _collage(text: str, style: int | None, neatness: float, random: np.random.Generator) -> Writing:
    donors = load_styles()
    number = int(random.integers(styles())) if style is None else style
    donors = donors.select(donors.places == number)
    variation = math.exp(-neatness)
    hand = Hand.draw(random, float(donors.slants.mean()), variation)
    writing = lay_out(text, donors, _in_turn(donors, random), hand, random)
    writing.strokes[:, 0] -= writing.strokes[:, 0].min()
    return writing


def _in_turn(donors: Donors, random: np.random.Generator):
    """Choose donors of a label in turn, in a random order, so that neighbours differ."""
    order = random.permutation(len(donors.labels))
    turns = {label: itertools.cycle(order[donors.labels[order] == label]) for label in range(10)}
    return lambda label: int(next(turns[label]))


def _primer(style: int) -> Writing:
    """What the network is shown to write on in a style: digits of it, on a straight line."""
    donors = load_styles()
    donors = donors.select(donors.places == style)
    random = np.random.default_rng(style)
    text = "".join(DIGITS[d] for d in random.permutation(10)[:_CONTEXT])
    hand = Hand(float(donors.slants.mean()), 1.0, 0.3, 0.0, (0.0, 1.0, 0.0), 0.3)
    return lay_out(text, donors, _in_turn(donors, random), hand, random)


@dataclass(frozen=True, eq=False)
class Candidate:
    """Some characters of a text as the network wrote them.

    Attributes:
        strokes: (P, 3) x, y, lifted, as in `Writing`.
        characters: (P,) place in the text that was told.
        score: the least of the characters' mean log-densities of a point; -inf if it is not whole:
            if the attention did not come to the end, or a character lacks a line or has one or a
            point too many.
    """

    strokes: np.ndarray
    characters: np.ndarray
    score: float


def _network(text: str, pen: Pen, style: int | None, neatness: float, seed: int) -> Writing:
    """Write a text piece by piece, each behind the last few characters, and keep the best of each.

    So the network never goes on from more than it has learned to, however long the text.
    """
    primer = Writing("", np.zeros((0, 3), np.float32), np.zeros(0, int))
    if style is not None:
        primer = _primer(style)
    whole, strokes, characters = primer.text + text, primer.strokes, primer.characters
    visible = [n for n in range(len(primer.text), len(whole)) if whole[n] != SPACE]
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(visible), _PIECE):
        piece = visible[start : start + _PIECE]
        first = min([*characters[characters >= piece[0] - _CONTEXT], piece[0]])
        shown = strokes[characters >= first]
        origin = np.array([shown[:, 0].min() if len(shown) else 0.0, 0.0, 0.0])
        told = (whole[: piece[-1] + 1] + _NEXT)[first:]
        places = [n - first for n in piece]
        best = _best_piece(pen, told, places, shown - origin, neatness, generator)
        if best is None:
            raise LostError(
                f"the network lost its way in {text!r} {_ROUNDS * _CANDIDATES} times; another "
                "seed, more neatness or method collage may help"
            )
        strokes = np.concatenate((strokes, best.strokes + origin)).astype(np.float32)
        characters = np.concatenate((characters, best.characters + first))
    new = characters >= len(primer.text)
    strokes, characters = strokes[new], characters[new] - len(primer.text)
    strokes[:, 0] -= strokes[:, 0].min()
    return Writing(text, strokes, characters)


def _best_piece(
    pen: Pen,
    told: str,
    piece: list[int],
    shown: np.ndarray,
    neatness: float,
    generator: torch.Generator,
) -> Candidate | None:
    for _ in range(_ROUNDS):
        candidates = write_piece(pen, told, piece, shown, neatness, generator, _CANDIDATES)
        best = max(candidates, key=lambda candidate: candidate.score)
        if best.score > -math.inf:
            return best
    return None


@torch.no_grad()
def write_piece(
    pen: Pen,
    told: str,
    piece: list[int],
    shown: np.ndarray,
    neatness: float,
    generator: torch.Generator,
    count: int,
) -> list[Candidate]:
    """Let the network write some characters of a text several times at once.

    It ends when the pen is lifted and the attention goes on to the character behind the piece. A
    candidate is given up when the attention stays at a character for more than _MAX_POINTS.

    Args:
        pen: the network.
        told: the text, with at least a character behind the piece.
        piece: which characters of it, some that follow each other but for spaces.
        shown: (P, 3) strokes of the characters before, which it is to believe to have written.
        neatness: as in `write`.
        generator: of chance.
        count: of candidates.
    """
    codes = torch.tensor([ALPHABET.index(character) for character in told]).expand(count, -1)
    # On its way from one character to another the attention may be at the spaces between.
    visible = torch.tensor([n + len(told[n:]) - len(told[n:].lstrip()) for n in range(len(told))])
    before = torch.from_numpy(shown.astype(np.float32))
    seen = inputs(before)[:, None].expand(-1, count, -1)
    place = SCALE * (before[-1, :2] if len(before) else torch.zeros(2)).expand(count, 2)
    began, up = place, torch.ones(count, dtype=torch.bool)
    going, ends = torch.ones(count, dtype=torch.bool), torch.full((count,), -1)
    stay, last = torch.zeros(count), torch.full((count,), -1)
    state, points = None, []
    while True:
        outputs, state = pen(seen, codes, state)
        outputs = Outputs(*(part[-1] for part in outputs))
        character = visible[outputs.attention.argmax(1)]
        ends[going & up & (character == visible[piece[-1] + 1])] = len(points)
        stay, last = torch.where(character == last, stay + 1, 1), character
        going = going & (ends < 0) & (stay <= _MAX_POINTS)
        if not going.any():
            break
        steps, lifted = choose(outputs, neatness, generator)
        place = place + steps
        began = torch.where(up[:, None], place, began)
        up = lifted
        density = log_density(outputs, steps)
        points.append(torch.column_stack((place / SCALE, lifted, character, density)))
        seen = torch.column_stack((steps, lifted, place[:, 1:], place - began))[None]
    written = torch.stack(points, 1).numpy() if points else np.zeros((count, 0, 5))
    return [
        _candidate(told, piece, row[:end], end > 0)
        for row, end in zip(written, ends.tolist(), strict=True)
    ]


def _candidate(told: str, piece: list[int], points: np.ndarray, ended: bool) -> Candidate:
    """Judge a piece: (P, 5) x, y, lifted, character, log-density."""
    lifted = points[:, 2] > 0.5
    lifted[-1:] = True
    characters = _by_line(points[:, 3].astype(int), lifted)
    score = -math.inf
    if ended and _is_whole(told, piece, characters, lifted):
        score = float(min(points[characters == n, 4].mean() for n in piece))
    strokes = np.column_stack((points[:, :2], lifted)).astype(np.float32)
    return Candidate(strokes, characters, score)


def _is_whole(told: str, piece: list[int], characters: np.ndarray, lifted: np.ndarray) -> bool:
    """Whether the characters of a piece have the lines that they may have, and come in order."""
    if sorted(set(characters.tolist())) != piece or (np.diff(characters) < 0).any():
        return False
    for place in piece:
        here = characters == place
        least, most = _LINES[told[place]]
        if not least <= lifted[here].sum() <= most or here.sum() > _MAX_POINTS:
            return False
    return True


def _by_line(attention: np.ndarray, lifted: np.ndarray) -> np.ndarray:
    """The character of each point: of each pen-down line, the one most of its points attend to."""
    characters = np.empty_like(attention)
    start = 0
    for end in np.flatnonzero(lifted) + 1:
        seen, counts = np.unique(attention[start:end], return_counts=True)
        characters[start:end] = seen[counts.argmax()]
        start = end
    return characters
