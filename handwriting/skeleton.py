"""A thinned digit as lines: which pixels follow which, and which lines go on across a junction.

Turns an image into smooth open and closed lines that together cover its ink. In what order and
direction a pen would draw them is left to tracer.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

# Thinning pulls a crossing apart into two junctions with a short bridge between them.
BRIDGE = 2  # pixels between two junctions that are taken for one, at most

# A short dead end where two other branches meet, such as the tip between the bows of a 3, is where
# the pen turned back, not a line of its own.
SPUR = 5.0  # px, at most

_SPECK = 1.5  # px: dead ends and loops that stay so near to their junction are left out
_LOOK = 5  # points along a branch that tell its direction at a junction

_Pixel = tuple[int, int]  # row, column


@dataclass(frozen=True, eq=False)
class Line:
    """A line of ink.

    Attributes:
        points: (k, 2) float64: x, y, px; a pixel's middle is at .5. A closed line ends where it
            starts.
        closed: whether it does.
    """

    points: np.ndarray
    closed: bool

    @property
    def length(self) -> float:
        """In px."""
        return _length(self.points)


@dataclass(eq=False)
class _Branch:
    """Ink between two junctions or dead ends.

    Attributes:
        points: (k, 2): x, y, from the place of the one to that of the other.
        nodes: numbers of the junctions at its start and end, None for a dead end.
    """

    points: np.ndarray
    nodes: tuple[int | None, int | None]


@dataclass(frozen=True)
class _End:
    """The start of a branch, or its end if `last`."""

    branch: _Branch
    last: bool

    @property
    def other(self) -> _End:
        return _End(self.branch, not self.last)

    def points(self) -> np.ndarray:
        """The branch's points from this end on."""
        return self.branch.points[::-1] if self.last else self.branch.points

    def direction(self) -> np.ndarray:
        """Unit vector into the branch."""
        points = self.points()
        step = points[min(_LOOK, len(points) - 1)] - points[0]
        return step / max(float(np.hypot(*step)), 1e-9)


@dataclass(frozen=True)
class _Joint:
    """Where a line goes on from an end of a branch: at which other end, and over which dead end."""

    end: _End
    spur: _End | None = None


def find_lines(image: np.ndarray) -> list[Line]:
    """Cover a thinned image's ink with lines.

    Branches that meet at a junction are joined two by two, the straightest first, so that crossing
    lines cross; one that is left over ends there. A dead end of up to SPUR px where two other
    branches meet is drawn to its tip and back on the way.

    Args:
        image: (H, W), whatever is not 0 is ink, in lines one pixel wide.

    Returns:
        The lines, smoothed; a lone pixel is a line without length.
    """
    branches = _find_branches(image)
    meetings: dict[int, list[_End]] = {}
    for branch in branches:
        for last, node in enumerate(branch.nodes):
            if node is not None:
                meetings.setdefault(node, []).append(_End(branch, bool(last)))
    joints: dict[_End, _Joint] = {}
    for ends in meetings.values():
        joints |= _join(ends)
    spurs = {joint.spur.branch for joint in joints.values() if joint.spur}
    left = [branch for branch in branches if branch not in spurs]
    return [Line(_smooth(points, closed), closed) for points, closed in _follow(left, joints)]


def _join(ends: list[_End]) -> dict[_End, _Joint]:
    """Joints at a junction where the branches of `ends` meet."""
    if len(ends) == 3:
        spurs = [e for e in ends if None in e.branch.nodes and _length(e.branch.points) <= SPUR]
        through = [end for end in ends if end not in spurs]
        if len(spurs) == 1 and through[0].branch is not through[1].branch:
            return _pair(*through, spurs[0])
    joints: dict[_End, _Joint] = {}
    free = list(ends)
    while len(free) > 1:
        a, b = min(combinations(free, 2), key=lambda pair: _bend(*pair))
        joints |= _pair(a, b)
        free = [end for end in free if end not in (a, b)]
    return joints


def _bend(a: _End, b: _End) -> float:
    """How badly two ends go together: -1 if straight on, 1 if back.

    3 if they are the two ends of one loop, which a third can enter: to close it would take a lift.
    """
    return 3.0 if a.branch is b.branch else float(a.direction() @ b.direction())


def _pair(a: _End, b: _End, spur: _End | None = None) -> dict[_End, _Joint]:
    return {a: _Joint(b, spur), b: _Joint(a, spur)}


def _follow(
    branches: list[_Branch], joints: dict[_End, _Joint]
) -> Iterator[tuple[np.ndarray, bool]]:
    """Points of each chain of joined branches, and whether it is closed."""
    left = dict.fromkeys(branches)
    starts = [end for branch in branches for end in (_End(branch, False), _End(branch, True))]
    # Chains with ends first: what is left then are rings, which may start anywhere.
    starts.sort(key=lambda end: end in joints)
    for start in starts:
        if start.branch not in left:
            continue
        points, end = [], start
        while True:
            del left[end.branch]
            points.append(end.points())
            joint = joints.get(end.other)
            if joint is None:
                closed = len(points) == 1 and _is_ring(end.branch)
                break
            if joint.spur:
                points += [joint.spur.points(), joint.spur.points()[::-1]]
            end = joint.end
            if end.branch not in left:
                closed = True
                break
        yield np.concatenate(points), closed


def _is_ring(branch: _Branch) -> bool:
    return len(branch.points) > 1 and bool((branch.points[0] == branch.points[-1]).all())


def _length(points: np.ndarray) -> float:
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def _smooth(points: np.ndarray, closed: bool) -> np.ndarray:
    """Even out the steps of a row of pixels by (1, 2, 1) / 4; open ends stay."""
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    ends = (points[-2:-1], points[1:2]) if closed else (points[:1], points[-1:])
    around = np.concatenate((ends[0], points, ends[1]))
    smooth = (around[:-2] + 2 * points + around[2:]) / 4
    if not closed:
        smooth[[0, -1]] = points[[0, -1]]
    return smooth


def _find_branches(image: np.ndarray) -> list[_Branch]:
    """Branches between junctions; bridged junctions are one, specks at junctions left out."""
    links = _link_pixels(image)
    junctions = [pixel for pixel, near in links.items() if len(near) > 2]
    node_of = _number(junctions, links)
    chains = _find_chains(links, node_of)
    bridges = [
        pixel
        for pixels, (start, end) in chains
        if start is not None and end is not None and start != end and len(pixels) <= BRIDGE
        for pixel in pixels
    ]
    if bridges:
        node_of = _number(junctions + bridges, links)
        chains = _find_chains(links, node_of)
    members: dict[int, list[_Pixel]] = {}
    for pixel, node in node_of.items():
        members.setdefault(node, []).append(pixel)
    places = {
        node: _middles(pixels).mean(axis=0, keepdims=True) for node, pixels in members.items()
    }
    branches = []
    for pixels, nodes in chains:
        start, end = (places.get(node, np.empty((0, 2))) for node in nodes)
        points = np.concatenate((start, _middles(pixels), end))
        branches.append(_Branch(points, nodes))
    return [branch for branch in branches if not _is_speck(branch)] or branches


def _is_speck(branch: _Branch) -> bool:
    if len(set(branch.nodes) - {None}) != 1:
        return False  # it joins two junctions, or stands alone
    place = branch.points[0 if branch.nodes[0] is not None else -1]
    return float(np.hypot(*(branch.points - place).T).max()) <= _SPECK


def _link_pixels(image: np.ndarray) -> dict[_Pixel, list[_Pixel]]:
    """Neighbours of each pixel of ink, the diagonal ones only where no pixel touches both."""
    rows, columns = np.nonzero(image)
    ink = dict.fromkeys(zip(rows.tolist(), columns.tolist(), strict=True))
    links = {}
    for row, column in ink:
        near = [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        near += [
            (row + down, column + right)
            for down in (-1, 1)
            for right in (-1, 1)
            if (row + down, column) not in ink and (row, column + right) not in ink
        ]
        links[row, column] = [pixel for pixel in near if pixel in ink]
    return links


def _number(pixels: list[_Pixel], links: dict[_Pixel, list[_Pixel]]) -> dict[_Pixel, int]:
    """A number for each pixel, the same for those that are linked, directly or by others."""
    left, numbers = set(pixels), {}
    for count, first in enumerate(pixels):
        reached = [first] if first in left else []
        left.difference_update(reached)
        while reached:
            pixel = reached.pop()
            numbers[pixel] = count
            onward = left.intersection(links[pixel])
            left -= onward
            reached += onward
    return numbers


def _find_chains(
    links: dict[_Pixel, list[_Pixel]], node_of: dict[_Pixel, int]
) -> list[tuple[list[_Pixel], tuple[int | None, int | None]]]:
    """Rows of linked pixels between junctions, and the junctions' numbers, None at a dead end.

    A ring's first pixel is its last one, too.
    """
    plain = [pixel for pixel in links if pixel not in node_of]
    starts = [(node_of[p], p, q) for p in node_of for q in links[p] if q not in node_of]
    starts += [(None, None, p) for p in plain if len(links[p]) < 2]
    starts += [(None, None, p) for p in plain]  # those that are left by then lie on rings
    chains, seen = [], set()
    for node, before, pixel in starts:
        if pixel in seen:
            continue
        row, end = [pixel], None
        while True:
            seen.add(pixel)
            onward = [q for q in links[pixel] if q != before]
            if not onward:
                break
            before, pixel = pixel, onward[0]
            end = node_of.get(pixel)
            if end is not None:
                break
            row.append(pixel)
            if pixel == row[0]:
                break
        chains.append((row, (node, end)))
    return chains


def _middles(pixels: list[_Pixel]) -> np.ndarray:
    """(k, 2) of x, y."""
    return np.array(pixels, float)[:, ::-1] + 0.5
