"""How good strokes are, measured without the renderer that trained them.

What is inked where, against the thinned digit (`ink`), and how the pen moved (`manner`): one number
for each drawing and metric, by the definitions in METRICS. Legibility is left to reader.py,
likeness to how people write to people.py, the table of them all to evaluate.py.

A drawing is (P, 3): x, y in units of the canvas side, y down, and 1 where the pen is lifted after
this point. All lengths are in pixels of the digit.
"""

from __future__ import annotations

import numpy as np

from handwriting._extras import require

NEAR = 1.5  # px: ink and skeleton meet within it
FAILED_BELOW = 0.9
RETRACE_NEAR = 0.75  # px
RETRACE_BACK = 3.0  # px along the strokes
SHARP = 120.0  # degrees

METRICS = {
    "precision": "share of drawn pixels within 1.5 px of the skeleton; 0 if nothing is drawn",
    "recall": "share of skeleton pixels within 1.5 px of a drawn one",
    "f1": "harmonic mean of precision and recall",
    "iou": "pixels both drawn and skeleton, over pixels of either",
    "mse": "share of pixels that are drawn or skeleton but not both",
    "chamfer": "distance to the nearest pixel of the other, px: mean of both directions' means",
    "hd95": "95th percentile of those distances, both directions together, px",
    "failed": "1 if precision or recall is under 0.9",
    "abuse": "share of the pen-down length that is over 1.5 px from any skeleton pixel's middle",
    "redundancy": "pen-down length over the skeleton's length",
    "retrace": "share of the pen-down length within 0.75 px of a part drawn over 3 px before",
    "turn_cos": "mean cosine of the turns between consecutive pen-down segments",
    "turning": "sum of those turns, degrees",
    "sharp": "number of those turns over 120 degrees",
    "lifts": "times the pen is lifted between the first ink and the last",
    "lift_jump": "way of the pen in the air between the first ink and the last, px",
}

_SAMPLES = 256  # places along a drawing's pen-down length at which abuse and retrace look


def check_drawings(drawings: np.ndarray) -> None:
    """Raise unless `drawings` is (n, P, 3), P at least 2, finite, its third number 0 or 1.

    Raises:
        ValueError: it is not; the message says how.
    """
    if drawings.ndim != 3 or drawings.shape[1] < 2 or drawings.shape[2] != 3:
        raise ValueError(f"drawings must be of shape (n, P, 3), P >= 2, got {drawings.shape}")
    if not np.isfinite(drawings).all():
        raise ValueError("drawings must be finite, got NaN or infinity")
    if not np.isin(drawings[..., 2], (0, 1)).all():
        raise ValueError("drawings must have 0 or 1 as third number, where the pen is lifted")


def render(drawings: np.ndarray, size: int = 28) -> np.ndarray:
    """Draw with hard lines one pixel wide, those of `cv2.line`.

    Args:
        drawings: (n, P, 3). A point is in the pixel (int(size x), int(size y)).
        size: of the canvas, px.

    Returns:
        (n, size, size) uint8 of 0 and 1. What is off the canvas is cut off.
    """
    cv2 = require("cv2")
    check_drawings(drawings)
    points = (drawings[..., :2] * size).astype(np.int32)
    segments = np.stack((points[:, :-1], points[:, 1:]), axis=2)
    canvas = np.zeros((len(drawings), size, size), np.uint8)
    for image, ends, lifted in zip(canvas, segments, drawings[:, :-1, 2], strict=True):
        cv2.polylines(image, list(ends[lifted < 0.5]), False, 1)
    return canvas


def ink(drawings: np.ndarray, skeletons: np.ndarray) -> dict[str, np.ndarray]:
    """Compare drawings with thinned images: precision to redundancy in METRICS.

    Args:
        drawings: (n, P, 3).
        skeletons: (n, S, S) of 0 and 1, 1 is ink.

    Returns:
        (n,) float64 for each name. Where nothing is drawn, abuse is 0, and every skeleton pixel is
        the canvas's diagonal away.

    Raises:
        ValueError: the shapes do not fit, or a skeleton is empty.
    """
    check_drawings(drawings)
    if skeletons.shape[:1] != drawings.shape[:1] or skeletons.ndim != 3:
        raise ValueError(f"{len(drawings)} drawings, but skeletons of shape {skeletons.shape}")
    if not skeletons.any(axis=(1, 2)).all():
        raise ValueError(f"skeleton {int(skeletons.any(axis=(1, 2)).argmin())} has no ink")
    size = skeletons.shape[-1]
    drawn, wanted = render(drawings, size).astype(bool), skeletons.astype(bool)
    figures = _pixels(drawn, wanted)
    samples, length = sample(drawings)
    figures["abuse"] = _abuse(samples * size, wanted) * (length > 0)
    figures["redundancy"] = length * size / skeleton_length(wanted)
    return figures


def _pixels(drawn: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    to_wanted, to_drawn = distance_to(wanted), distance_to(drawn)
    precision = _mean_where(to_wanted <= NEAR, drawn)
    recall = _mean_where(to_drawn <= NEAR, wanted)
    there, back = _mean_where(to_wanted, drawn), _mean_where(to_drawn, wanted)
    empty = ~drawn.any(axis=(1, 2))
    both = np.concatenate(
        (np.where(drawn, to_wanted, np.inf), np.where(wanted, to_drawn, np.inf)), axis=1
    )
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / np.where(total > 0, total, 1),
        "iou": (drawn & wanted).sum((1, 2)) / (drawn | wanted).sum((1, 2)),
        "mse": (drawn != wanted).mean((1, 2)),
        "chamfer": np.where(empty, back, (there + back) / 2),
        "hd95": _percentile(both.reshape(len(both), -1), 0.95),
        "failed": (np.minimum(precision, recall) < FAILED_BELOW).astype(np.float64),
    }


def distance_to(images: np.ndarray) -> np.ndarray:
    """Distance of every pixel's middle from the nearest ink pixel's.

    Args:
        images: (n, S, S) bool.

    Returns:
        (n, S, S) float32, px; the canvas's diagonal throughout where there is no ink.
    """
    cv2 = require("cv2")
    result = np.full(images.shape, np.hypot(*images.shape[1:]), np.float32)
    for image, distance in zip(images, result, strict=True):
        if image.any():
            ground = (~image).astype(np.uint8)
            distance[:] = cv2.distanceTransform(ground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            # OpenCV's last bit depends on where the image lies in memory; the squares are whole.
            np.sqrt(np.rint(distance * distance), out=distance)
    return result


def _mean_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over the pixels of `mask`, 0 where it has none."""
    return (values * mask).sum((1, 2), np.float64) / np.maximum(mask.sum((1, 2)), 1)


def _percentile(values: np.ndarray, part: float) -> np.ndarray:
    """Of the finite values in each row, with linear interpolation."""
    values = np.sort(values, axis=1)
    place = part * (np.isfinite(values).sum(axis=1) - 1)
    lower = np.floor(place).astype(int)
    rows = np.arange(len(values))
    below, above = values[rows, lower], values[rows, np.ceil(place).astype(int)]
    return below + (place - lower) * (above - below)


def skeleton_length(skeletons: np.ndarray) -> np.ndarray:
    """Length of lines one pixel wide: 0.948 for each pair of straight neighbours, 1.343 for others.

    Diagonal neighbours count only where no pixel touches both. With these weights straight lines of
    all directions have their own length on average; 1 and sqrt(2) would take their steps for ways.
    A skeleton counts as at least 1 long.

    Args:
        skeletons: (n, S, S) bool.

    Returns:
        (n,) float64, px.

    Source:
        Z. Kulpa, "Area and perimeter measurement of blobs in discrete binary pictures", Computer
        Graphics and Image Processing 6(5), 1977.
    """
    up, down = skeletons[:, :-1], skeletons[:, 1:]
    straight = (up & down).sum((1, 2)) + (skeletons[..., 1:] & skeletons[..., :-1]).sum((1, 2))
    falling = up[..., :-1] & down[..., 1:] & ~up[..., 1:] & ~down[..., :-1]
    rising = up[..., 1:] & down[..., :-1] & ~up[..., :-1] & ~down[..., 1:]
    diagonal = falling.sum((1, 2)) + rising.sum((1, 2))
    return np.maximum(0.948 * straight + 1.343 * diagonal, 1)


def sample(drawings: np.ndarray, count: int = _SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Places in the middles of equal parts of each drawing's pen-down length, in drawing order.

    Returns:
        (n, count, 2) float64 places, the first point where there is no length; (n,) the lengths.
    """
    points = drawings[..., :2].astype(np.float64)
    steps = np.diff(points, axis=1)
    lengths = np.hypot(steps[..., 0], steps[..., 1]) * (drawings[:, :-1, 2] < 0.5)
    until = lengths.cumsum(axis=1)
    at = until[:, -1:] * (np.arange(count) + 0.5) / count
    segment = (until[:, None, :-1] <= at[..., None]).sum(axis=2)
    segment *= until[:, -1:] > 0
    rows = np.arange(len(points))[:, None]
    length = lengths[rows, segment]
    part = 1 - (until[rows, segment] - at) / np.where(length > 0, length, 1)
    places = points[rows, segment] + part[..., None] * steps[rows, segment]
    return np.where(until[:, -1:, None] > 0, places, points[:, :1]), until[:, -1]


def _abuse(samples: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Share of the samples (n, K, 2), px, that are not NEAR the middle of a pixel of `wanted`."""
    far = np.empty(len(samples))
    for number, (places, image) in enumerate(zip(samples, wanted, strict=True)):
        rows, columns = np.nonzero(image)
        apart = np.subtract.outer(places[:, 0], columns + 0.5) ** 2
        apart += np.subtract.outer(places[:, 1], rows + 0.5) ** 2
        far[number] = (apart.min(axis=1) > NEAR**2).mean()
    return far


def manner(drawings: np.ndarray, size: int = 28) -> dict[str, np.ndarray]:
    """Measure how the pen moves: retrace to lift_jump in METRICS.

    Segments without length are passed over: they turn nowhere.

    Args:
        drawings: (n, P, 3).
        size: of the canvas, px.

    Returns:
        (n,) float64 for each name; turn_cos is NaN for a drawing without turns.
    """
    check_drawings(drawings)
    cosine = _turns(drawings)
    turn = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    turns = np.isfinite(cosine).sum(axis=1)
    mean_cosine = np.nansum(cosine, axis=1) / np.where(turns > 0, turns, np.nan)
    count, jump = lifts(drawings)
    return {
        "retrace": _retrace(drawings, size),
        "turn_cos": mean_cosine,
        "turning": np.nansum(turn, axis=1),
        "sharp": (turn > SHARP).sum(axis=1).astype(np.float64),
        "lifts": count,
        "lift_jump": jump * size,
    }


def _retrace(drawings: np.ndarray, size: int) -> np.ndarray:
    samples, lengths = sample(drawings)
    samples = (samples * size).astype(np.float32)
    again = np.empty(len(samples))
    for number, (places, length) in enumerate(zip(samples, lengths * size, strict=True)):
        back = int(RETRACE_BACK * _SAMPLES / max(length, RETRACE_BACK)) + 1
        apart = np.subtract.outer(places[back:, 0], places[:-back, 0]) ** 2
        apart += np.subtract.outer(places[back:, 1], places[:-back, 1]) ** 2
        again[number] = np.tril(apart <= RETRACE_NEAR**2).any(axis=1).sum() / _SAMPLES
    return again


def _turns(drawings: np.ndarray) -> np.ndarray:
    """(n, P - 1): cosine between each segment and the one before, NaN where there is no turn."""
    steps = np.diff(drawings[..., :2].astype(np.float64), axis=1)
    lifted = drawings[:, :-1, 2] > 0.5
    length = np.hypot(steps[..., 0], steps[..., 1])
    drawn = ~lifted & (length > 0)
    last_drawn = np.maximum.accumulate(np.where(drawn, np.arange(drawn.shape[1]), -1), axis=1)
    before = np.concatenate((np.full((len(drawn), 1), -1), last_drawn[:, :-1]), axis=1)
    rows = np.arange(len(drawn))[:, None]
    chain = lifted.cumsum(axis=1)
    turns = drawn & (before >= 0) & (chain[rows, before] == chain)
    directions = steps / np.where(length > 0, length, 1)[..., None]
    cosine = (directions * directions[rows, before]).sum(axis=2)
    return np.where(turns, cosine, np.nan)


def lifts(drawings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count how often the pen is lifted between the first ink and the last, and its way in the air.

    Args:
        drawings: (n, P, 3).

    Returns:
        (n,) float64 counts; (n,) float64 ways, in the drawings' units.
    """
    steps = np.diff(drawings[..., :2].astype(np.float64), axis=1)
    down = drawings[:, :-1, 2] < 0.5
    begun = np.logical_or.accumulate(down, axis=1)
    goes_on = np.logical_or.accumulate(down[:, ::-1], axis=1)[:, ::-1]
    in_air = ~down & begun & goes_on
    starts = in_air[:, 1:] & down[:, :-1]
    jump = (np.hypot(steps[..., 0], steps[..., 1]) * in_air).sum(axis=1)
    return starts.sum(axis=1).astype(np.float64), jump
