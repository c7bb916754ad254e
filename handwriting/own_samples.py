"""The project's own drawings of digits: curves by hand, each varied by a seeded hand.

`python -m handwriting.own_samples` writes them anew, to the file in the package that
`load_samples("own")` reads.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from handwriting.samples import OWN_FILE, resample, save_samples
from softraster.curves import catmull_rom

# The digits, as people write them: order and direction are those of the pen. A point is x,y in
# hundredths of the digit's height. Curves run smoothly through their points; "/" is a corner, ";"
# lifts the pen.
SHAPES: dict[int, tuple[str, ...]] = {
    0: (
        "46,2 22,8 4,34 2,64 16,92 38,98 60,84 70,54 66,24 50,5 40,2",
        "58,10 40,0 16,12 2,44 8,82 30,100 54,90 68,58 66,26 52,8 34,2",
        "30,4 10,20 2,50 10,84 32,98 56,88 66,58 60,24 42,6 28,6 18,14",
    ),
    1: (
        "14,0 8,50 0,100",
        "20,0 14,34 10,68 8,100",
        "0,22 12,12 22,0 / 20,50 17,100",
        "4,24 14,14 22,0 / 22,50 21,98 ; 0,99 20,98 44,97",
    ),
    2: (
        "6,22 20,4 42,2 54,18 48,42 28,70 2,98 / 24,95 46,96 66,99",
        "4,26 14,6 36,0 54,12 52,36 34,62 14,86 4,90 4,78 16,74 36,88 52,97 72,92",
        "2,16 22,2 46,6 54,26 42,52 22,78 4,98 / 30,90 48,94 70,90",
    ),
    3: (
        "4,12 22,0 44,4 50,20 38,38 18,46 / 42,48 56,64 52,86 30,100 2,90",
        "6,4 30,2 54,2 / 40,22 24,40 / 46,44 58,64 50,88 28,100 2,92",
        "2,18 16,2 40,2 50,18 40,36 24,44 30,46 50,54 56,74 44,94 20,100 0,88",
    ),
    4: (
        "10,2 6,26 2,52 / 26,52 56,48 ; 52,0 46,50 40,100",
        "14,0 10,24 4,46 10,56 30,54 62,46 ; 56,6 48,52 42,100",
        "44,0 24,26 0,60 / 30,62 64,60 ; 46,2 45,50 42,100",
        "2,4 0,30 4,50 18,56 36,50 50,36 / 56,4 / 52,50 48,100",
    ),
    5: (
        "14,4 10,22 8,44 / 26,36 48,42 58,62 50,86 26,100 0,92 ; 14,4 36,4 62,0",
        "60,0 38,4 16,4 / 12,24 8,44 / 28,38 50,46 56,66 46,90 22,100 0,92",
        "66,2 44,2 24,6 14,22 14,38 34,44 50,58 50,80 32,98 10,98 0,86",
    ),
    6: (
        "44,0 26,16 10,42 2,70 8,94 28,100 46,88 48,68 34,58 16,64 6,80",
        "34,0 16,26 4,56 2,82 16,98 36,96 48,80 44,64 28,58 10,70",
        "56,4 34,12 14,36 4,66 12,92 34,100 52,86 50,66 34,60 18,70 14,86",
    ),
    7: (
        "2,6 26,4 54,2 / 44,30 32,62 24,100",
        "0,18 4,4 / 28,6 58,2 / 48,24 36,56 30,98",
        "0,6 28,4 56,0 / 42,36 28,68 18,100 ; 12,52 32,50 56,48",
        "0,8 14,2 36,6 54,2 50,18 38,46 28,74 24,100",
    ),
    8: (
        "50,14 34,0 14,6 8,22 24,42 44,58 52,78 40,97 18,98 4,84 10,64 30,48 48,30 50,12",
        "32,2 14,6 8,22 20,40 40,54 50,74 42,94 22,100 6,88 8,68 26,50 44,34 48,14 34,2",
        "54,20 44,2 22,2 10,18 22,38 38,52 48,74 38,96 16,98 4,82 14,62 34,46 50,30 58,10",
    ),
    9: (
        "48,12 30,2 10,12 2,34 12,50 32,44 46,24 / 48,10 / 46,52 42,100",
        "44,8 24,0 6,16 4,38 20,46 38,34 48,12 / 48,48 42,80 34,100",
        "50,16 34,2 14,8 2,28 8,46 26,46 44,28 50,12 48,44 44,78 28,98 8,92",
        "50,6 28,4 8,18 6,40 24,48 44,34 52,6 / 42,50 30,100",
    ),
}

COUNT = 16  # drawings of each digit, its shapes in turn
POINTS = 20

# How far hands differ, as standard deviations.
_WOBBLE = 0.025  # of each point of a shape, in heights
_SLANT = 0.12  # of the upright; slanted to the right by as much on average
_TURN = 0.05  # in radians
_STRETCH = 0.14  # of width to height, as a logarithm

# The frame of thinned MNIST digits: wider than the shapes, the longer side of the box 15 to 19 of
# 28 pixels, the middle of the ink in the middle of the image.
_WIDTH = 1.15
_SIDES = (15 / 28, 19 / 28)

_SAMPLES_PER_PIECE = 24


def draw_own_samples(seed: int = 0) -> tuple[list[np.ndarray], list[int]]:
    """Draw COUNT of each digit.

    Returns:
        (POINTS, 3) float64 each, x, y, lifted; and labels. Both as `save_samples` takes them. The
        digits come in turn, 0, 1, ..., 9, 0, ...
    """
    # RandomState, whose stream numpy has promised never to change.
    random = np.random.RandomState(seed)
    drawings, labels = [], []
    for number in range(COUNT):
        for label, shapes in SHAPES.items():
            drawings.append(_draw(shapes[number % len(shapes)], random))
            labels.append(label)
    return drawings, labels


def _draw(shape: str, random: np.random.RandomState) -> np.ndarray:
    """One drawing of a shape, (POINTS, 3), by a hand of its own."""
    chains = [_chain(text, random) for text in shape.split(";")]
    lifted = np.concatenate([np.arange(len(chain)) == len(chain) - 1 for chain in chains])
    points = np.concatenate(chains) @ _hand(random).T
    drawing = resample(np.column_stack((points, lifted)), POINTS)
    points = drawing[:, :2]
    points *= random.uniform(*_SIDES) / np.ptp(points, axis=0).max()
    steps = np.diff(points, axis=0)
    ink = np.hypot(*steps.T) * (1 - drawing[:-1, 2])
    middle = ink @ (points[:-1] + steps / 2) / ink.sum()
    drawing[:, :2] = points - middle + 0.5
    return drawing


def _chain(text: str, random: np.random.RandomState) -> np.ndarray:
    """(P, 2): the curve of a pen-down chain, its points shaken."""
    curves: list[np.ndarray] = []
    corner: list[np.ndarray] = []
    for run in text.split("/"):
        given = np.array([point.split(",") for point in run.split()], float) / 100
        points = [*corner, *(given + _WOBBLE * random.randn(*given.shape))]
        segments = catmull_rom(torch.from_numpy(np.stack(points)), samples=_SAMPLES_PER_PIECE)
        if not curves:
            curves.append(segments[:1, :2].numpy())
        curves.append(segments[:, 2:].numpy())
        corner = points[-1:]
    return np.concatenate(curves)


def _hand(random: np.random.RandomState) -> np.ndarray:
    """(2, 2): how a hand slants, turns and stretches what it writes."""
    slant = np.array([[1, -_SLANT * (1 + random.randn())], [0, 1]])
    angle = _TURN * random.randn()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ slant @ np.diag([_WIDTH * math.exp(_STRETCH * random.randn()), 1])


if __name__ == "__main__":
    save_samples(OWN_FILE, *draw_own_samples())
    print(OWN_FILE)
