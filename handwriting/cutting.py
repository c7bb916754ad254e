"""Which ink of a photograph is one digit: connected pieces, grouped from left to right, cut out.

Where the ink is is left to ink.py, what becomes of it to frame.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from handwriting._extras import require
from handwriting.ink import ink_depth, ink_mask
from handwriting.photo import PhotoError

MOST_DIGITS = 20
SMALLEST = 8  # px, of a picture's sides

# Sides of the picture that ink is sought in, px: a larger one is reduced, a smaller one enlarged.
_LONGEST = 1600
_SHORTEST = 160

_MOST_PARTS = 60  # of digits, beside those that are tall
_CUT = 240  # px, of a digit's cut out ink: more would be no sharper once it is in MNIST's frame
_MARGIN = 80  # px, more than any ink is cut out with

# In heights of a digit.
_SPECK = 0.2  # smaller pieces are dust
_NEAR = 0.35  # ink of one digit is not further apart
_TALL = 0.6  # a taller piece is a digit of its own
_SHORT = 0.35  # a taller piece is one if no other is near
_CLOSE = 0.08  # a tall piece and another of its digit
_BLOB = 0.4  # no pen is wider
_WIDEST = 2.5  # nor any digit

_NO_FORM = "there is no piece of ink of a digit's form"


@dataclass(frozen=True, eq=False)
class Ink:
    """One digit's ink.

    Attributes:
        cover: (h, w) float32, 0 to 1: how much of a pixel is ink of this digit. Its frame is empty.
        corner: x, y of the top left corner of `cover`, px of the photograph.
        scale: x, y: pixels of the photograph for one of `cover`.
        box: x, y, width, height of the ink, px of the photograph.
        width: of the pen's lines, px of `cover`.
    """

    cover: np.ndarray
    corner: np.ndarray
    scale: np.ndarray
    box: tuple[float, float, float, float]
    width: float


def find_digits(photo: np.ndarray) -> list[Ink]:
    """Find the ink of a digit, or of digits in a row.

    Light ink on dark ground is found like dark on light: ground is what most of the picture's
    surroundings are. Ground may get darker or lighter across the picture.

    Args:
        photo: (H, W, 3) float32, 0 to 1.

    Returns:
        One for each digit, from left to right. Digits that touch are one.

    Raises:
        PhotoError: no ink, too little contrast, too many things, or more than one row.
    """
    cv2 = require("cv2")
    height, width = photo.shape[:2]
    if min(height, width) < SMALLEST:
        raise PhotoError(f"the picture is {width} x {height} px: too small to show a digit")
    scale = max(1.0, max(height, width) / _LONGEST)
    if min(height, width) < _SHORTEST:
        scale = max(min(height, width) / _SHORTEST, max(height, width) / (2 * _LONGEST))
    size = (max(SMALLEST, round(width / scale)), max(SMALLEST, round(height / scale)))
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    depth, spread = ink_depth(cv2.resize(photo, size, interpolation=how))
    groups = _group(_pieces(ink_mask(depth, spread)))
    exact = np.array([width / size[0], height / size[1]])
    depth = np.pad(depth, _MARGIN)
    inks = [_ink(depth, group, exact) for group in groups]
    lines = [ink for ink in inks if ink.width * ink.scale.mean() < _BLOB * max(ink.box[2:])]
    if not lines:
        raise PhotoError("no digit found: the ink is a blot, not lines")
    widest = max(lines, key=lambda ink: ink.box[2] / ink.box[3])
    if widest.box[2] > _WIDEST * widest.box[3]:
        raise PhotoError(
            f"{widest.box[2]:.0f} x {widest.box[3]:.0f} px of ink are wider than any digit; digits "
            "that touch are not parted"
        )
    return lines


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected piece of ink: where it is, and its pixels there."""

    box: tuple[int, int, int, int]  # x, y, width, height
    mask: np.ndarray  # (height, width) bool
    area: int
    at_edge: int  # px of it that lie on the picture's edge
    spans: bool  # a side of the picture, nearly all of it

    @property
    def right(self) -> int:
        return self.box[0] + self.box[2]

    @property
    def bottom(self) -> int:
        return self.box[1] + self.box[3]


def _pieces(mask: np.ndarray) -> list[_Piece]:
    """Pieces of ink that may be digits or parts of one."""
    cv2 = require("cv2")
    height, width = mask.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    pieces = []
    for number, (x, y, w, h, area) in enumerate(stats[1:].tolist(), 1):
        if area < 12 or max(w, h) < 6:
            continue
        own = labels[y : y + h, x : x + w] == number
        pieces.append(_Piece((x, y, w, h), own, area, *_touch(own, x, y, width, height)))
    pieces = [piece for piece in pieces if not piece.spans]
    # What lies along the edge is a thumb or a shadow, unless there is nothing else.
    least = 0.08 * min(width, height)
    inside = [piece for piece in pieces if piece.at_edge < 0.4 * max(piece.box[2:])]
    if any(max(piece.box[2:]) > least for piece in inside):
        pieces = inside
    pieces = [piece for piece in pieces if not _is_rule(piece, width, height)]
    if not pieces:
        raise PhotoError(f"no digit found: {_NO_FORM}")
    return pieces


def _touch(own: np.ndarray, x: int, y: int, width: int, height: int) -> tuple[int, bool]:
    """`at_edge` and `spans` of a piece with these pixels at this place."""
    bottom, right = y + own.shape[0] == height, x + own.shape[1] == width
    level = [int(side.sum()) for side, at in ((own[0], y == 0), (own[-1], bottom)) if at]
    upright = [int(side.sum()) for side, at in ((own[:, 0], x == 0), (own[:, -1], right)) if at]
    spans = max(level, default=0) > 0.95 * width or max(upright, default=0) > 0.95 * height
    return sum(level) + sum(upright), spans


def _is_rule(piece: _Piece, width: int, height: int) -> bool:
    """Whether a piece is a line right through the picture."""
    _, _, w, h = piece.box
    return (w > 0.7 * width and h < 0.1 * w) or (h > 0.9 * height and w < 0.02 * h)


def _group(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces of each digit, from left to right."""
    order = sorted(pieces, key=lambda piece: piece.box[3])
    areas = np.cumsum([piece.area for piece in order])
    height = order[int(np.searchsorted(areas, areas[-1] / 2))].box[3]
    size = max(height, max(order[-1].box[2:]) / 4)
    pieces = [piece for piece in pieces if max(piece.box[2:]) >= _SPECK * size]
    tall = [piece for piece in pieces if piece.box[3] >= _TALL * size]
    groups: list[list[_Piece]] = []
    for piece in sorted(tall, key=lambda piece: piece.box[0]):
        home = next((g for g in groups if _belongs(g, piece, size)), None)
        if home is None:
            groups.append([piece])
        else:
            home.append(piece)
    left = _share_out([piece for piece in pieces if piece not in tall], groups, _NEAR * size)
    groups += [[piece] for piece in left if piece.box[3] >= _SHORT * size]
    strays = sum(piece.box[3] < _SHORT * size for piece in left)
    if len(groups) > MOST_DIGITS or strays > max(6, len(groups)):
        raise PhotoError(
            f"too many things found, {len(groups) + strays}: cut the picture to one row of at most "
            f"{MOST_DIGITS} digits"
        )
    if not groups:
        raise PhotoError(f"no digit found: {_NO_FORM}")
    groups.sort(key=lambda group: min(piece.box[0] for piece in group))
    _check_row(groups, size)
    return groups


def _share_out(pieces: list[_Piece], groups: list[list[_Piece]], most: float) -> list[_Piece]:
    """Give each group the pieces near to it, the nearest first; those that stay without.

    A piece that joined a group may bring others near.
    """
    if len(pieces) > _MOST_PARTS or not groups:
        return pieces
    costs = np.array([[_apart(group, piece) for group in groups] for piece in pieces])
    left = list(range(len(pieces)))
    while left:
        which, group = np.unravel_index(costs[left].argmin(), (len(left), len(groups)))
        if costs[left[which], group] > most:
            break
        joined = left.pop(which)
        groups[group].append(pieces[joined])
        for other in left:
            costs[other, group] = min(costs[other, group], _apart(groups[group], pieces[other]))
    return [pieces[number] for number in left]


def _belongs(group: list[_Piece], piece: _Piece, size: float) -> bool:
    """Whether a tall piece is close to a group and, for the most part, in its columns."""
    left, right = min(p.box[0] for p in group), max(p.right for p in group)
    shared = min(right, piece.right) - max(left, piece.box[0])
    inside = shared > 0.6 * min(piece.box[2], right - left)
    return inside and _apart(group, piece) < _CLOSE * size


def _apart(group: list[_Piece], piece: _Piece) -> float:
    """How far a piece is from a group, more if it stands in other columns, px."""
    cv2 = require("cv2")
    boxes = [p.box for p in (*group, piece)]
    x, y = min(box[0] for box in boxes), min(box[1] for box in boxes)
    w = max(p.right for p in (*group, piece)) - x
    h = max(p.bottom for p in (*group, piece)) - y
    ground = np.ones((h, w), np.uint8)
    for p in group:
        ground[p.box[1] - y : p.bottom - y, p.box[0] - x : p.right - x][p.mask] = 0
    distance = cv2.distanceTransform(ground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    own = distance[piece.box[1] - y : piece.bottom - y, piece.box[0] - x : piece.right - x]
    left, right = min(p.box[0] for p in group), max(p.right for p in group)
    outside = piece.box[2] - max(0, min(right, piece.right) - max(left, piece.box[0]))
    return float(own[piece.mask].min()) + 0.25 * outside


def _check_row(groups: list[list[_Piece]], size: float) -> None:
    """Raise if digits stand one under the other."""
    boxes = [(p[0].box[0], min(q.box[1] for q in p), max(q.bottom for q in p)) for p in groups]
    for (x, top, bottom), (other_x, other_top, other_bottom) in pairwise(boxes):
        shared = min(bottom, other_bottom) - max(top, other_top)
        if shared < 0 and abs(other_x - x) < -2 * shared + size:
            raise PhotoError("digits in several rows: cut the picture to one row")


def _ink(depth: np.ndarray, group: list[_Piece], scale: np.ndarray) -> Ink:
    """Cut a group's ink out of a depth with _MARGIN, its pale rim with it, its neighbours not."""
    cv2 = require("cv2")
    x, y = min(p.box[0] for p in group), min(p.box[1] for p in group)
    w, h = max(p.right for p in group) - x, max(p.bottom for p in group) - y
    mask = np.zeros((h, w), np.uint8)
    for p in group:
        mask[p.box[1] - y : p.bottom - y, p.box[0] - x : p.right - x][p.mask] = 1
    shrink = -(-max(w, h) // _CUT)
    before, after = 4 * shrink, [4 * shrink + -side % shrink for side in (h, w)]
    margins = ((before, after[0]), (before, after[1]))
    mask, corner = np.pad(mask, margins), np.array([x - before, y - before])
    left, top = corner + _MARGIN
    around = depth[top : top + mask.shape[0], left : left + mask.shape[1]]
    full = max(float(np.quantile(around[mask > 0], 0.75)), 1e-6)
    near = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    cover = (np.clip(around / full, 0, 1) * near).astype(np.float32)
    size = (mask.shape[1] // shrink, mask.shape[0] // shrink)
    cover = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)
    left, top, right, bottom = box_of(cover > 0.5)
    # Of a bar, the mean distance to its edge is a quarter of its width.
    inked = np.pad(cover > 0.5, 1)
    inside = cv2.distanceTransform(inked.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    width = 4 * (float(inside[inked].mean()) - 0.5)
    place = (corner + np.array([left, top]) * shrink) * scale
    extent = np.array([right - left, bottom - top]) * shrink * scale
    return Ink(
        cover,
        corner * scale,
        shrink * scale,
        (*place.tolist(), *extent.tolist()),
        max(width, 1.0),
    )


def box_of(inked: np.ndarray) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what is True, the latter two exclusive."""
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
