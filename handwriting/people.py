"""How much strokes are like people's: in order and direction, and in recovering a known path.

Definitions are in METRICS. The paths are compared by dtw.py; which people is the caller's choice,
usually those of pendigits.py.
"""

from __future__ import annotations

import numpy as np

from handwriting.dtw import dtw, path_points, unit_box
from handwriting.metrics import check_drawings, lifts

START_NEAR = 4.0  # px

METRICS = {
    "dtw": "mean-step DTW to the nearest human drawing of its class, in a unit box",
    "forward": "share nearer to a human drawing as drawn than backwards",
    "recovery_dtw": "mean-step DTW between a drawing and the path its image was made from, px",
    "recovery_direction": "share nearer to that path as drawn than backwards",
    "recovery_start": "share that starts within 4 px of that path's start",
    "recovery_strokes": "share with as many pen-down strokes as that path",
}


def likeness(
    drawings: np.ndarray, labels: np.ndarray, people: np.ndarray, people_labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Compare each drawing with all human ones of its class: dtw and forward in METRICS.

    Each is walked in drawing order, pen-down lines joined by straight ones, cut into 24 even points
    and stretched to a unit box. The nearest is sought anew for the drawing backwards.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.
        labels: (n,), 0 to 9.
        people: (m, Q, 3) human drawings, likewise.
        people_labels: (m,).

    Returns:
        (n,) float64 for each name. A drawing without ink is the box's diagonal away, and is not
        forward.

    Raises:
        ValueError: a form is wrong, or there is no human drawing of a class.
    """
    paths, human = unit_box(_paths(drawings)), unit_box(_paths(people))
    nearest = np.empty((2, len(paths)))
    for label in np.unique(labels):
        which, same = labels == label, people_labels == label
        if not same.any():
            raise ValueError(f"people drew no {label}, which {which.sum()} drawings should be")
        for way, step in enumerate((1, -1)):
            nearest[way, which] = dtw(paths[which, None, ::step], human[None, same]).min(axis=1)
    nearest[np.isnan(nearest)] = np.sqrt(2)
    return {"dtw": nearest[0], "forward": (nearest[0] < nearest[1]).astype(np.float64)}


def recovery(drawings: np.ndarray, people: np.ndarray, size: int = 28) -> dict[str, np.ndarray]:
    """Compare drawings, made from images of human ones, with those: recovery_... in METRICS.

    Paths are walked as in `likeness`, but left where they are.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.
        people: (n, Q, 3), likewise: what the images were made from.
        size: of the canvas, px.

    Returns:
        (n,) float64 for each name. A drawing without ink is the canvas's diagonal away, and wrong
        in all else.

    Raises:
        ValueError: a form is wrong, or the numbers of drawings differ.
    """
    if len(drawings) != len(people):
        raise ValueError(f"{len(drawings)} drawings cannot be compared with {len(people)}")
    drawn, true = _paths(drawings), _paths(people)
    apart, backwards = dtw(drawn, true), dtw(drawn[:, ::-1], true)
    start = np.hypot(*(drawn[:, 0] - true[:, 0]).T)
    lifted, wanted = (lifts(one)[0] for one in (drawings, people))
    empty = np.isnan(apart)
    figures = {
        "recovery_dtw": np.where(empty, np.sqrt(2), apart) * size,
        "recovery_direction": apart < backwards,
        "recovery_start": start * size < START_NEAR,
        "recovery_strokes": (lifted == wanted) & ~empty,
    }
    return {name: values.astype(np.float64) for name, values in figures.items()}


def _paths(drawings: np.ndarray) -> np.ndarray:
    check_drawings(drawings)
    return path_points(drawings)
