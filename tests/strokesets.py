"""Sets of drawings that several tests need."""

from itertools import pairwise

import numpy as np

from handwriting.formats import StrokeSet


def make_set(train=48, test=6, points=9, seed=0):
    """Random drawings with lifts, dots and points in the air; every seventh is badly drawn."""
    count = train + test
    random = np.random.default_rng(seed)
    strokes = random.random((count, points, 3)).astype(np.float16).astype(np.float32)
    strokes[..., 2] = random.random((count, points)) < 0.3
    strokes[:, -1, 2] = 1
    quality = {
        "failed": (np.arange(count) % 7 == 0).astype(np.float32),
        "cnn": (np.arange(count) % 3 > 0).astype(np.float32),
        "turn_cos": np.where(np.arange(count) % 5, 0.5, np.nan).astype(np.float32),
    }
    return StrokeSet(
        strokes,
        np.arange(count) % 10,
        np.concatenate((np.arange(train), np.arange(test))),
        np.repeat([0, 1], [train, test]),
        quality["failed"] > 0,
        quality,
        {"drawn_by": "chance"},
    )


def ink_of(drawing):
    """Pen-down segments with a length, as a set of (x1, y1, x2, y2), to six digits."""
    rows = drawing.astype(np.float64).round(6).tolist()
    return {
        (*start[:2], *end[:2])
        for start, end in pairwise(rows)
        if start[2] < 0.5 and start[:2] != end[:2]
    }
