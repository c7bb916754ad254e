"""Drawings as rows of pen movements: stroke-3, the form of Graves and of sketch-rnn.

Turns drawings into it and back. Files are left to `formats.py`.
"""

from __future__ import annotations

import numpy as np


def to_stroke3(drawings: np.ndarray) -> np.ndarray:
    """Say each point by the way to it from the point before; the first by that from (0, 0).

    Args:
        drawings: (..., P, 3): x, y, and 1 where the pen is lifted after this point.

    Returns:
        (..., P, 3), of the same type: dx, dy, lifted. Points that no ink touches are moved as
        `join_air` does, since in this form each would be a dot.

    Source:
        D. Ha and D. Eck, "A Neural Representation of Sketch Drawings", ICLR 2018, section 3.1.
    """
    offsets = join_air(drawings)
    offsets[..., 1:, :2] = np.diff(offsets[..., :2], axis=-2)
    return offsets


def from_stroke3(offsets: np.ndarray) -> np.ndarray:
    """Turn what `to_stroke3` returns back into drawings, (..., P, 3)."""
    drawings = offsets.copy()
    drawings[..., :2] = np.cumsum(offsets[..., :2], axis=-2)
    return drawings


def join_air(drawings: np.ndarray) -> np.ndarray:
    """Move points that no ink touches onto ink: what is drawn stays, the air is crossed at once.

    Such a point takes the place of the last inked one before it, or of the first after it, and adds
    a segment without length to that line. So each pen-down line is one row of points.

    Args:
        drawings: (..., P, 3): x, y, and 1 where the pen is lifted after this point.

    Returns:
        A copy; the last point of each drawing is lifted. One without ink stays as it is.
    """
    joined = drawings.reshape(-1, *drawings.shape[-2:]).copy()
    count = joined.shape[1]
    down = joined[:, :-1, 2] < 0.5
    inked = np.zeros((len(joined), count), bool)
    inked[:, :-1] |= down
    inked[:, 1:] |= down
    source = np.maximum.accumulate(np.where(inked, np.arange(count), -1), axis=1)
    source = np.maximum(source, inked.argmax(axis=1)[:, None])
    source[~inked.any(axis=1)] = np.arange(count)
    joined[..., :2] = np.take_along_axis(joined[..., :2], source[..., None], axis=1)
    joined[:, :-1, 2] *= source[:, :-1] != source[:, 1:]
    joined[:, -1, 2] = 1
    return joined.reshape(drawings.shape)
