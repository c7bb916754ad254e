"""Strokes without learning: walk the lines of a thinned digit, in an order that simple rules give.

What one can have without a network, to measure networks by. Which lines an image has is left to
skeleton.py. Given drawings of people as templates, order and direction come from the nearest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations, product

import numpy as np

from handwriting._extras import require
from handwriting.dtw import PATH_POINTS, dtw, path_points, unit_box
from handwriting.dtw import resample as resample_paths
from handwriting.samples import Samples, resample
from handwriting.skeleton import Line, find_lines

# Of two ends, the pen starts at that with the smaller y + LEFT * x: rather above, then left.
LEFT = 0.5

_SPECK = 2.0  # px: shorter lines are left out, unless there are no others
_RING_STARTS = 8  # places on a closed line where templates may have it start
_MOST_WAYS = 512  # of drawing a digit's longest lines, that templates choose from


def trace(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    templates: Samples | None = None,
    *,
    points: int = 20,
    progress: bool = False,
) -> np.ndarray:
    """Draw thinned digits along their skeletons.

    Without templates: a line with ends is drawn from the upper or left one, a ring from its top and
    to the left, and first the line that starts furthest up and left. With templates: lines are
    drawn in whatever order, direction and, of rings, start brings the path nearest to a template of
    the digit's class, by the measure of `people.likeness`.

    Args:
        images: (n, S, S), whatever is not 0 is ink, in lines one pixel wide.
        labels: (n,), 0 to 9; needed with templates.
        templates: drawings of people, at least one of each class in `labels`.
        points: of a drawing, shared out evenly along its lines.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        (n, points, 3) float32: x, y in units of the canvas side, and 1 where the pen is lifted
        after this point. An image without lines is lifted throughout.

    Raises:
        ValueError: templates lack labels, or a class.
    """
    paths = None if templates is None else _paths_by_class(templates, labels)
    drawings = np.empty((len(images), points, 3), np.float32)
    bar = require("tqdm").tqdm(
        images, desc="tracing", unit=" images", disable=None if progress else True
    )
    for number, image in enumerate(bar):
        lines = _choose_lines(find_lines(image), points // 2)
        if paths is None or not lines:
            way = _rule_way(lines)
        else:
            way = _nearest_way(lines, paths[int(labels[number])])
        drawings[number] = _drawing(way, len(image), points)
    return drawings


def _choose_lines(lines: list[Line], most: int) -> list[Line]:
    """Longest first, at most so many, without specks."""
    lines = sorted((line for line in lines if line.length > 0), key=lambda line: -line.length)
    return [line for line in lines if line.length >= _SPECK][:most] or lines[:1]


def _rule_way(lines: list[Line]) -> list[np.ndarray]:
    """Points of the lines in the order and direction that the rules give."""
    return sorted((_directed(line) for line in lines), key=lambda points: _rank(points[0]))


def _directed(line: Line) -> np.ndarray:
    points = line.points
    if line.closed:
        ring = _turned(points, int(points[:-1, 1].argmin()))
        ahead = min(5, len(ring) // 3)
        return ring if ring[ahead, 0] < ring[-1 - ahead, 0] else ring[::-1]
    return points if _rank(points[0]) <= _rank(points[-1]) else points[::-1]


def _rank(point: np.ndarray) -> float:
    return float(point[1] + LEFT * point[0])


def _turned(ring: np.ndarray, start: int) -> np.ndarray:
    """A closed line with another start."""
    return np.concatenate((ring[start:-1], ring[: start + 1]))


def _nearest_way(lines: list[Line], templates: np.ndarray) -> list[np.ndarray]:
    """Points of the lines in the order and direction that are nearest to one of the templates."""
    ways = list(_ways(lines))
    paths = unit_box(resample_paths(np.array([np.concatenate(way) for way in ways]), PATH_POINTS))
    apart = dtw(paths[:, None], templates[None])
    return ways[int(apart.min(axis=1).argmin())]


def _ways(lines: list[Line]) -> Iterator[list[np.ndarray]]:
    """Orders and directions of the longest lines, up to _MOST_WAYS; others follow by the rules."""
    choices: list[list[np.ndarray]] = []
    for line in lines:
        starts = range(0, len(line.points) - 1, -(-len(line.points) // _RING_STARTS))
        turned = [_turned(line.points, at) for at in starts] if line.closed else [line.points]
        choices.append([points[::step] for points in turned for step in (1, -1)])
        if math.factorial(len(choices)) * math.prod(map(len, choices)) > _MOST_WAYS:
            choices.pop()
            break
    rest = _rule_way(lines[len(choices) :])
    for order in permutations(choices):
        for way in product(*order):
            yield [*way, *rest]


def _paths_by_class(templates: Samples, labels: np.ndarray | None) -> dict[int, np.ndarray]:
    """Paths of the templates in a unit box, (R, PATH_POINTS, 2) for each label that is needed."""
    if labels is None:
        raise ValueError("templates need the labels of the images, got None")
    paths = unit_box(path_points(templates.strokes.numpy()))
    by_class = {int(label): paths[templates.labels.numpy() == label] for label in np.unique(labels)}
    for label, some in by_class.items():
        if not len(some):
            raise ValueError(f"templates must have a drawing of each class, {label} is missing")
    return by_class


def _drawing(way: list[np.ndarray], size: int, points: int) -> np.ndarray:
    """(points, 3): evenly spaced along the lines, lifted after each."""
    if not way:
        drawing = np.full((points, 3), 0.5)
        drawing[:, 2] = 1
        return drawing
    lines = [np.column_stack((line / size, np.arange(len(line)) == len(line) - 1)) for line in way]
    return resample(np.concatenate(lines), points)
