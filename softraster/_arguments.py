"""Checks and broadcasts the arguments of draw_segments, for the fused op and the reference alike.

Every error names the argument, the rule and what it got. No formulas, and no look at tensors'
values: that would wait for a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

COMPOSITES = ("sum", "max")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DEFAULT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Scene:
    """Arguments in the form that the op takes: one dtype, batch dimensions expanded."""

    segments: Tensor  # (..., N, 4)
    softness: Tensor  # (..., N)
    intensity: Tensor | None  # (..., N)
    height: int
    width: int
    composite: str
    tolerance: float
    canvas_dtype: torch.dtype


def check_scene(
    segments: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    intensity: float | Tensor | None,
    composite: str,
    tolerance: float,
) -> Scene:
    """Return the arguments as a Scene, or raise TypeError or ValueError."""
    _check_segments(segments)
    height, width = _check_size(size)
    if composite not in COMPOSITES:
        raise ValueError(f"composite must be one of {COMPOSITES}, got {composite!r}")
    tolerance = _check_tolerance(tolerance)
    softness = _per_segment("softness", softness, segments, highest=math.inf)
    if intensity is not None:
        intensity = _per_segment("intensity", intensity, segments, highest=1.0)

    shape = segments.shape[:-1]
    if softness.shape != shape or (intensity is not None and intensity.shape != shape):
        shape = _broadcast(segments, softness, intensity)
        segments, softness = segments.expand(*shape, 4), softness.expand(shape)
        intensity = None if intensity is None else intensity.expand(shape)

    canvas_dtype = segments.dtype
    if canvas_dtype in (torch.float16, torch.bfloat16):
        segments = segments.float()
        if torch.is_autocast_enabled(segments.device.type):
            canvas_dtype = torch.float32
    if softness.dtype != segments.dtype:
        softness = softness.to(segments.dtype)
    if intensity is not None and intensity.dtype != segments.dtype:
        intensity = intensity.to(segments.dtype)
    return Scene(segments, softness, intensity, height, width, composite, tolerance, canvas_dtype)


def _check_segments(segments: Tensor) -> None:
    if not isinstance(segments, Tensor):
        raise TypeError(f"segments must be a tensor, got {type(segments).__name__}")
    if segments.dtype not in DTYPES:
        raise TypeError(
            f"segments must be float64, float32, float16 or bfloat16, got {segments.dtype}"
        )
    if segments.dim() < 2 or segments.shape[-1] != 4:
        raise ValueError(
            f"segments must have the shape (..., N, 4), x1 y1 x2 y2, got {tuple(segments.shape)}"
        )


def _check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (size, size) if _is_integer(size) else size
    if (
        not isinstance(sides, (tuple, list))
        or len(sides) != 2
        or not all(_is_integer(side) for side in sides)
    ):
        raise TypeError(f"size must be an int or a pair (height, width) of ints, got {size!r}")
    if sides[0] < 1 or sides[1] < 1:
        raise ValueError(f"size must be at least 1 pixel in height and width, got {size!r}")
    return sides[0], sides[1]


def _check_tolerance(tolerance: float) -> float:
    if not _is_number(tolerance):
        raise TypeError(f"tolerance must be a number, got {type(tolerance).__name__}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be at least 0 and below 1, got {tolerance!r}")
    return float(tolerance)


def _per_segment(name: str, value: float | Tensor, segments: Tensor, highest: float) -> Tensor:
    if not isinstance(value, Tensor):
        if not _is_number(value):
            raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
        if not 0 <= value <= highest or math.isinf(value):
            bounds = "0 or more, and finite" if math.isinf(highest) else f"from 0 to {highest:g}"
            raise ValueError(f"{name} must be {bounds}, got {value!r}")
        return segments.new_full(segments.shape[:-1], value)
    if value.device != segments.device:
        raise ValueError(
            f"{name} must be on the device of segments, {segments.device}, got {value.device}"
        )
    if value.dtype != segments.dtype and not (
        value.dtype in DTYPES and torch.is_autocast_enabled(segments.device.type)
    ):
        raise TypeError(
            f"{name} must have the dtype of segments, {segments.dtype}, got {value.dtype}"
        )
    return value


def _broadcast(segments: Tensor, softness: Tensor, intensity: Tensor | None) -> torch.Size:
    shape = segments.shape[:-1]
    for name, value in (("softness", softness), ("intensity", intensity)):
        if value is None:
            continue
        try:
            shape = torch.broadcast_shapes(shape, value.shape)
        except RuntimeError:
            shape = None
        if shape is None or shape[-1] != segments.shape[-2]:
            raise ValueError(
                f"{name} must be a number or have a shape that broadcasts to (..., N) with"
                f" N = {segments.shape[-2]} for segments of shape {tuple(segments.shape)},"
                f" got {tuple(value.shape)}"
            )
    return shape


def _is_integer(value: object) -> bool:
    return isinstance(value, (Integral, torch.SymInt)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (Real, torch.SymFloat, torch.SymInt)) and not isinstance(value, bool)
