"""Checks and broadcasts the arguments of draw_segments, for the fused op and the reference alike.

Every error names the argument, the rule and what it got. No formulas, and no look at tensors'
values: that would wait for a GPU.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor

COVERAGES = ("grid", "capsule")
COMPOSITES = ("sum", "max", "softor", "over")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DEFAULT_TOLERANCE = 1e-6
MOST_PIXELS = 2**30  # of a side


class Scene(NamedTuple):
    """Arguments in the form that the op takes: one dtype, batch dimensions expanded."""

    segments: Tensor  # (..., N, 4)
    softness: Tensor  # (..., N)
    width: Tensor | None  # (..., N)
    intensity: Tensor | None  # (..., N)
    color: Tensor | None  # (..., N, C)
    background: Tensor | None  # (..., C), C = 1 without color
    rows: int
    columns: int
    coverage: str
    composite: str
    tolerance: float
    canvas_dtype: torch.dtype


def check_scene(
    segments: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    width: float | Tensor | None,
    intensity: float | Tensor | None,
    color: Tensor | None,
    background: float | Tensor | None,
    coverage: str,
    composite: str,
    tolerance: float,
) -> Scene:
    """Return the arguments as a Scene, or raise TypeError or ValueError."""
    _check_segments(segments)
    rows, columns = _check_size(size)
    if coverage not in COVERAGES:
        raise ValueError(f"coverage must be one of {COVERAGES}, got {coverage!r}")
    if composite not in COMPOSITES:
        raise ValueError(f"composite must be one of {COMPOSITES}, got {composite!r}")
    tolerance = _check_tolerance(tolerance)
    if width is not None and coverage != "capsule":
        raise ValueError(f'width goes with coverage="capsule", got coverage={coverage!r}')
    if width is None and coverage == "capsule":
        raise ValueError('width must be given with coverage="capsule", got None')
    if background is not None and composite != "over":
        raise ValueError(f'background goes with composite="over", got composite={composite!r}')

    softness = _per_segment("softness", softness, segments, highest=math.inf)
    width = _per_segment("width", width, segments, highest=math.inf)
    intensity = _per_segment("intensity", intensity, segments, highest=1.0)
    color = _check_color(color, segments)
    background = _check_background(background, color, segments)
    tensors = segments, softness, width, intensity, color, background
    canvas_dtype = segments.dtype
    if not _are_plain(tensors):
        tensors, canvas_dtype = _bring_together(tensors)
    return Scene(*tensors, rows, columns, coverage, composite, tolerance, canvas_dtype)


def _are_plain(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether there is nothing to broadcast or convert, as in most calls, where it takes time."""
    segments, *per_segment, color, background = tensors
    shape, dtype = segments.shape[:-1], segments.dtype
    if color is not None or background is not None or dtype.itemsize < 4:
        return False
    for x in per_segment:  # noqa: SIM110 - all() takes longer: 1.1 us, not 0.7
        if x is not None and (x.shape != shape or x.dtype != dtype):
            return False
    return True


def _bring_together(
    given: tuple[Tensor | None, ...],
) -> tuple[tuple[Tensor | None, ...], torch.dtype]:
    """Return the tensors with common batch dimensions and dtype, and the canvas's dtype."""
    tensors = dict(zip(Scene._fields, given, strict=False))
    _broadcast(tensors)
    segments = tensors["segments"]
    canvas_dtype = segments.dtype
    if canvas_dtype in (torch.float16, torch.bfloat16):
        segments = tensors["segments"] = segments.float()
        if torch.is_autocast_enabled(segments.device.type):
            canvas_dtype = torch.float32
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != segments.dtype:
            tensors[name] = tensor.to(segments.dtype)
    return tuple(tensors.values()), canvas_dtype


def _check_segments(segments: Tensor) -> None:
    if not isinstance(segments, Tensor):
        raise TypeError(f"segments must be a tensor, got {type(segments).__name__}")
    if segments.dtype not in DTYPES:
        raise TypeError(
            f"segments must be float64, float32, float16 or bfloat16, got {segments.dtype}"
        )
    _check_layout("segments", segments)
    if segments.dim() < 2 or segments.shape[-1] != 4:
        raise ValueError(
            f"segments must have the shape (..., N, 4), x1 y1 x2 y2, got {tuple(segments.shape)}"
        )


def _check_layout(name: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got one of layout {tensor.layout}")


def _check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    if type(size) is int and 1 <= size <= MOST_PIXELS:
        return size, size  # as in most calls
    sides = (size, size) if _is_integer(size) else size
    if (
        not isinstance(sides, (tuple, list))
        or len(sides) != 2
        or not all(_is_integer(side) for side in sides)
    ):
        raise TypeError(f"size must be an int or a pair (height, width) of ints, got {size!r}")
    if sides[0] < 1 or sides[1] < 1:
        raise ValueError(f"size must be at least 1 pixel in height and width, got {size!r}")
    if sides[0] > MOST_PIXELS or sides[1] > MOST_PIXELS:
        raise ValueError(f"size must be at most {MOST_PIXELS} pixels a side, got {size!r}")
    return sides[0], sides[1]


def _check_tolerance(tolerance: float) -> float:
    if not _is_number(tolerance):
        raise TypeError(f"tolerance must be a number, got {type(tolerance).__name__}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be at least 0 and below 1, got {tolerance!r}")
    return float(tolerance)


def _per_segment(
    name: str, value: float | Tensor | None, segments: Tensor, highest: float
) -> Tensor | None:
    if value is None and name != "softness":
        return None
    if isinstance(value, Tensor):
        return _check_tensor(name, value, segments)
    if not _is_number(value):
        raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
    number, dtype = _plain(value), _computed_in(segments)
    if not 0 <= number <= min(highest, torch.finfo(dtype).max):
        bounds = f"0 or more, and finite in {dtype}" if highest > 1 else "from 0 to 1"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")
    return segments.new_full(segments.shape[:-1], number, dtype=dtype)


def _check_color(color: Tensor | None, segments: Tensor) -> Tensor | None:
    if color is None:
        return None
    if not isinstance(color, Tensor):
        raise TypeError(f"color must be a tensor, got {type(color).__name__}")
    if color.dim() < 1 or color.shape[-1] < 1:
        raise ValueError(
            f"color must broadcast to (..., N, C), C at least 1, got {tuple(color.shape)}"
        )
    return _check_tensor("color", color, segments)


def _check_background(
    background: float | Tensor | None, color: Tensor | None, segments: Tensor
) -> Tensor | None:
    if background is None:
        return None
    if not isinstance(background, Tensor):
        if not _is_number(background):
            raise TypeError(
                f"background must be a number or a tensor, got {type(background).__name__}"
            )
        number, dtype = _plain(background), _computed_in(segments)
        if not abs(number) <= torch.finfo(dtype).max:
            raise ValueError(f"background must be finite, got {background!r}")
        return segments.new_full((1 if color is None else color.shape[-1],), number, dtype=dtype)
    background = _check_tensor("background", background, segments)
    return background[..., None] if color is None or background.dim() == 0 else background


def _computed_in(segments: Tensor) -> torch.dtype:
    return segments.dtype if segments.dtype.itemsize >= 4 else torch.float32


def _check_tensor(name: str, value: Tensor, segments: Tensor) -> Tensor:
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
    _check_layout(name, value)
    return value


def _broadcast(tensors: dict[str, Tensor | None]) -> None:
    """Expand all tensors over common batch dimensions, N segments and C channels."""
    segments, color = tensors["segments"], tensors["color"]
    count = segments.shape[-2]
    channels = 1 if color is None else color.shape[-1]
    tails = dict.fromkeys(("softness", "width", "intensity"), (count,))
    tails |= {"segments": (count, 4), "color": (count, channels), "background": (channels,)}
    batch = segments.shape[:-2]
    given = {name: x for name, x in tensors.items() if x is not None}
    if all(x.shape == batch + tails[name] for name, x in given.items()):
        return
    for name, tensor in given.items():
        tail = tails[name]
        shape = (1,) * (len(tail) - tensor.dim()) + tensor.shape
        own = shape[len(shape) - len(tail) :]
        fits = all(have in (1, want) for have, want in zip(own, tail, strict=True))
        try:
            batch = torch.broadcast_shapes(batch, shape[: len(shape) - len(tail)])
        except RuntimeError:
            fits = False
        if not fits:
            words = {"segments": "N, 4", "color": "N, C", "background": "C"}.get(name, "N")
            raise ValueError(
                f"{name} must broadcast to (..., {words}) with N = {count}"
                + (f" and C = {channels}" if color is not None else "")
                + f" for segments of shape {tuple(segments.shape)}, got {tuple(tensor.shape)}"
            )
    for name, tensor in given.items():
        tensors[name] = tensor.expand(*batch, *tails[name])


def _is_integer(value: object) -> bool:
    return type(value) is int or (
        isinstance(value, (Integral, torch.SymInt)) and not isinstance(value, bool)
    )


def _is_number(value: object) -> bool:
    return type(value) is float or (
        isinstance(value, (Real, torch.SymFloat, torch.SymInt)) and not isinstance(value, bool)
    )


def _plain(number: Real) -> float:
    """Return a number of any type, a fraction or NumPy's, as one that torch takes."""
    if isinstance(number, (float, int, torch.SymFloat, torch.SymInt)):
        return number
    try:
        return float(number)
    except OverflowError:  # a fraction that is larger than any float
        return math.inf
