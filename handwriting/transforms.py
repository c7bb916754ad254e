"""Changes to drawings that leave digits what they are, for `HandwrittenDigits`.

Each is called with a drawing (P, 3) float32 of x, y, lifted, and a torch.Generator on the CPU, and
returns a new drawing of that form. Whatever is random comes from the generator alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from handwriting.samples import resample


@dataclass(frozen=True)
class Affine:
    """Turn, stretch and shift a drawing, about the middle of its box.

    Attributes:
        degrees: the angle is uniform in -degrees..degrees, clockwise.
        scale: x and y are each stretched by a factor uniform in its logarithm, 1/scale..scale.
        shift: way in x and in y, uniform in -shift..shift, in units of the canvas side.
    """

    degrees: float = 10.0
    scale: float = 1.15
    shift: float = 0.05

    def __post_init__(self) -> None:
        _check("degrees", self.degrees, 0)
        _check("scale", self.scale, 1)
        _check("shift", self.shift, 0)

    def __call__(self, drawing: Tensor, generator: torch.Generator) -> Tensor:
        """(P, 3) to (P, 3)."""
        turn, across, down, right, below = _uniform(5, generator)
        angle = math.radians(self.degrees) * turn
        cos, sin = math.cos(angle), math.sin(angle)
        stretch = np.array([[self.scale**across], [self.scale**down]])
        matrix = stretch * [[cos, sin], [-sin, cos]]
        return _about_middle(drawing, matrix, (self.shift * right, self.shift * below))


@dataclass(frozen=True)
class Slant:
    """Lean a drawing to one side, about the middle of its box.

    Attributes:
        degrees: the angle is uniform in -degrees..degrees; positive ones lean the top to the right.
    """

    degrees: float = 15.0

    def __post_init__(self) -> None:
        _check("degrees", self.degrees, 0)
        if self.degrees >= 90:
            raise ValueError(f"degrees must be under 90, got {self.degrees}")

    def __call__(self, drawing: Tensor, generator: torch.Generator) -> Tensor:
        """(P, 3) to (P, 3)."""
        (lean,) = _uniform(1, generator)
        slope = math.tan(math.radians(self.degrees) * lean)
        return _about_middle(drawing, np.array([[1, 0], [-slope, 1]]))


@dataclass(frozen=True)
class Resample:
    """Put another number of points evenly along a drawing, as `samples.resample` does.

    Attributes:
        points: how many, at least two for each pen-down line; else ValueError when it is called.
    """

    points: int

    def __post_init__(self) -> None:
        _check("points", self.points, 2)

    def __call__(self, drawing: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(P, 3) to (points, 3); points that no ink touches are left out. Nothing is random."""
        return torch.from_numpy(resample(drawing.numpy(), self.points).astype(np.float32))


@dataclass(frozen=True)
class Speed:
    """Move points along the lines, as if the pen had been faster here and slower there.

    The ends of each pen-down line, and so the lifts, stay; a point off its old place cuts a corner
    of the polyline.

    Attributes:
        amount: the logarithm of the speed is a mean of two slow waves along the line with normally
            distributed weights; this is their standard deviation.
    """

    amount: float = 0.3

    def __post_init__(self) -> None:
        _check("amount", self.amount, 0)

    def __call__(self, drawing: Tensor, generator: torch.Generator) -> Tensor:
        """(P, 3) to (P, 3)."""
        weights = self.amount * torch.randn(2, generator=generator).numpy()
        moved = drawing.numpy().copy()
        ends = (np.flatnonzero(moved[:-1, 2] > 0.5) + 1).tolist()
        for start, end in zip([0, *ends], [*ends, len(drawing)], strict=True):
            if end - start > 2:
                moved[start:end, :2] = _paced(moved[start:end, :2].astype(np.float64), weights)
        return torch.from_numpy(moved)


def _paced(line: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The points of a polyline (k, 2), moved along it to where a pen of uneven speed would be."""
    along = np.concatenate(([0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()))
    time = (np.arange(len(line) - 1) + 0.5) / (len(line) - 1)
    waves = np.cos(np.pi * time), np.cos(2 * np.pi * time)
    steps = np.diff(along) * np.exp(weights[0] * waves[0] + weights[1] * waves[1])
    if along[-1] == 0:
        return line
    at = np.concatenate(([0.0], steps.cumsum())) * (along[-1] / steps.sum())
    # Of points at one place only one is needed to say where the line is.
    new = np.r_[True, np.diff(along) > 0]
    paced = np.stack([np.interp(at, along[new], axis[new]) for axis in line.T], axis=1)
    paced[[0, -1]] = line[[0, -1]]
    return paced


def _about_middle(
    drawing: Tensor, matrix: np.ndarray, shift: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """Apply `matrix` to rows (x, y) from the middle of the box of the ink."""
    moved = drawing.numpy().copy()
    inked = moved[:, 2] < 0.5
    inked[1:] |= inked[:-1]
    points = moved[inked, :2] if inked.any() else moved[:, :2]
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    moved[:, :2] = (moved[:, :2] - middle) @ matrix + middle + shift
    return torch.from_numpy(moved)


def _uniform(count: int, generator: torch.Generator) -> list[float]:
    """Numbers in -1..1."""
    return (2 * torch.rand(count, generator=generator) - 1).tolist()


def _check(name: str, value: float, least: float) -> None:
    if not (value >= least and math.isfinite(value)):
        raise ValueError(f"{name} must be a number of at least {least}, got {value!r}")
