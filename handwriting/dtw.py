"""How far apart two pen paths are when one may be walked faster than the other.

Turns drawings into paths of evenly spaced points and compares them by dynamic time warping, many
pairs at once. Which paths are worth comparing is left to people.py and tracer.py.
"""

from __future__ import annotations

import numpy as np

PATH_POINTS = 24

# A cell of the table holds the sum of the distances in units of 2^-18, times 64, plus the number of
# steps: so the minimum of three integers picks the shortest way and, of equals, the one with the
# fewest steps, and carries both numbers on.
_STEP_BITS = 6
_ONE = 1 << 18
_UNREACHED = 1 << 30
_LONGEST = 1 << (_STEP_BITS - 1)
_WIDEST = 2**0.5  # a square whose diagonal, 63 times, stays within 31 bits

# Pairs worked on at once; more do not fit in a core's cache.
_PAIRS = 4096


def path_points(drawings: np.ndarray, count: int = PATH_POINTS) -> np.ndarray:
    """Walk drawings in their order, pen-down lines joined by straight ones, and mark even points.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.
        count: points of a path, at least 2.

    Returns:
        (n, count, 2) float64 in the drawings' units, evenly spaced along the path, its ends
        included. NaN for a drawing that is lifted throughout.
    """
    down = drawings[:, :-1, 2] < 0.5
    inked = np.zeros(drawings.shape[:2], bool)
    inked[:, :-1] |= down
    inked[:, 1:] |= down
    # Each point that ends no pen-down segment becomes one that does: a step without length.
    index = np.where(inked, np.arange(drawings.shape[1]), -1)
    index = np.maximum(np.maximum.accumulate(index, axis=1), inked.argmax(axis=1)[:, None])
    points = np.take_along_axis(drawings[..., :2].astype(np.float64), index[..., None], axis=1)
    points[~inked.any(axis=1)] = np.nan
    return resample(points, count)


def resample(points: np.ndarray, count: int) -> np.ndarray:
    """Mark evenly spaced points along polylines.

    Args:
        points: (n, P, 2).
        count: how many to mark, at least 2.

    Returns:
        (n, count, 2), the first and last of `points` included.
    """
    steps = np.diff(points, axis=1)
    along = np.concatenate(
        (np.zeros((len(points), 1)), np.hypot(steps[..., 0], steps[..., 1]).cumsum(axis=1)), axis=1
    )
    at = along[:, -1:] * np.linspace(0, 1, count)
    segment = (along[:, None, 1:-1] <= at[:, :, None]).sum(axis=2)
    rows = np.arange(len(points))[:, None]
    length = along[rows, segment + 1] - along[rows, segment]
    # The end of a path may lie on a step without length.
    part = (at - along[rows, segment]) / np.where(length > 0, length, 1)
    return points[rows, segment] + np.clip(part, 0, 1)[..., None] * steps[rows, segment]


def unit_box(paths: np.ndarray) -> np.ndarray:
    """Shift and stretch paths (n, P, 2) so that x and y each run from 0 to 1; a line stays at 0."""
    paths = paths - paths.min(axis=1, keepdims=True)
    size = paths.max(axis=1, keepdims=True)
    return paths / np.where(size > 1e-9, size, 1)


def dtw(paths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean distance between two paths along their best warping.

    A warping starts at both first points, ends at both last ones, and steps one point on in one
    path or in both. The best has the smallest sum of distances between the points that meet; the
    mean is over its steps, the first pair included.

    Args:
        paths: (..., P, 2), at most 32 points; at least one leading dimension.
        others: (..., P, 2), as many dimensions; the leading ones broadcast.

    Returns:
        (...) float64 in the units of the paths, exact to 4e-6. NaN where a path has a NaN.

    Raises:
        ValueError: the shapes do not fit, or the paths spread over more than sqrt(2) units.

    Source:
        H. Sakoe and S. Chiba, "Dynamic programming algorithm optimization for spoken word
        recognition", IEEE Transactions on ASSP 26(1), 1978, without weights or a window.
    """
    shape = np.broadcast_shapes(paths.shape[:-2], others.shape[:-2])
    if paths.ndim != others.ndim or paths.shape[-2:] != others.shape[-2:] or not shape:
        raise ValueError(f"paths of shape {paths.shape} cannot be compared with {others.shape}")
    if paths.shape[-2] > _LONGEST:
        raise ValueError(f"paths must have at most {_LONGEST} points, got {paths.shape[-2]}")
    result = np.empty(shape)
    chunk = max(1, _PAIRS * shape[0] // max(1, result.size))
    for start in range(0, shape[0], chunk):
        rows = slice(start, start + chunk)
        result[rows] = _warp(*(a[rows] if len(a) > 1 else a for a in (paths, others)))
    return result


def _warp(paths: np.ndarray, others: np.ndarray) -> np.ndarray:
    """`dtw` of a chunk, by the table's diagonals: the cells of one depend on the two before."""
    undefined = np.isnan(paths).any(axis=(-2, -1)) | np.isnan(others).any(axis=(-2, -1))
    # Points first, so that a diagonal's cells are whole arrays of pairs.
    left, right = (np.moveaxis(np.nan_to_num(a), (-1, -2), (0, 1)) for a in (paths, others))
    left, right = (a.astype(np.float32, order="C") for a in (left, right))
    spread = max(left.max(), right.max()) - min(left.min(), right.min())
    if spread > _WIDEST:
        raise ValueError(f"paths must lie within a square of {_WIDEST:.3f}, theirs is {spread}")
    count = left.shape[1]
    # Row i + 1 of each is the cell of point i of `left`; row 0 is never reached.
    tables = [np.full((count + 1, *undefined.shape), _UNREACHED, np.int32) for _ in range(3)]
    for diagonal in range(2 * count - 1):
        first, last = max(0, diagonal - count + 1), min(diagonal, count - 1)
        opposite = right[:, diagonal - last : diagonal - first + 1][:, ::-1]
        across, down = left[:, first : last + 1] - opposite
        across *= across
        across += down * down
        distance = np.sqrt(across, out=across)
        distance *= _ONE
        step = (distance.astype(np.int32) << _STEP_BITS) + 1
        before_last, before, now = tables
        if diagonal > 0:
            best = np.minimum(before[first : last + 1], before[first + 1 : last + 2])
            step += np.minimum(best, before_last[first : last + 1])
        now[first + 1 : last + 2] = step
        tables = before, now, before_last
    end = tables[1][count]
    mean = (end >> _STEP_BITS) / (_ONE * (end & ((1 << _STEP_BITS) - 1)))
    return np.where(undefined, np.nan, mean)
