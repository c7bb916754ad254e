"""Curves to segments in plain PyTorch, differentiably: polylines, Beziers, Catmull-Rom splines.

Works out points only; pixels are draw_segments's. Nothing but `flatness` looks at values.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from softraster._arguments import DTYPES, _check_size, _is_integer, _is_number
from softraster.api import draw_segments

DEFAULT_FLATNESS = 0.1
MAX_SAMPLES = 1 << 16

# Neighbours nearer than this count as this far apart, in units of the longer canvas side.
CLOSEST = 1e-5


def polyline(points: Tensor, *, closed: bool = False) -> Tensor:
    """Join each point to the next by a segment.

    Args:
        points: (..., P, 2), x, y. Fewer than 2 make no segment, unless `closed`.
        closed: whether the last point joins the first.

    Returns:
        Segments, (..., P - 1, 4), or (..., P, 4) if `closed`.

    Raises:
        TypeError, ValueError: `points` of another type, dtype or shape.
    """
    _check_points("points", points, "(..., P, 2)")
    if closed:
        return torch.cat([points, points.roll(-1, -2)], dim=-1)
    return torch.cat([points[..., :-1, :], points[..., 1:, :]], dim=-1)


def quadratic_bezier(
    control: Tensor,
    *,
    samples: int | None = None,
    flatness: float | None = None,
    size: int | tuple[int, int] | None = None,
) -> Tensor:
    """Cut quadratic Bezier curves into segments of equal parameter length.

    Give either `samples` or `flatness`. A `flatness` is kept by the smallest count for which
    `|second derivative| / 8 / count^2`, which no point of the curve can exceed, is at most the
    flatness for every curve in the batch.

    Args:
        control: (..., 3, 2), x, y of start, handle and end, in units of the longer canvas side.
        samples: segments per curve, 1 to 65536. Traceable by torch.compile, torch.export and vmap.
        flatness: more than 0: the largest distance between curve and segments, in pixels. Reads one
            number from the device (on CUDA: waits), so it cannot be traced. Curves with NaN or
            infinite points have no say in the count.
        size: canvas size in pixels, an int or (height, width). Only `flatness` needs it.

    Returns:
        Segments, (..., samples, 4), in drawing order. The first starts and the last ends exactly on
        the curve's ends. Every derivative is finite, also where the curve is straight or a point.

    Raises:
        TypeError: an argument of the wrong type or dtype; both or neither of the two counts.
        ValueError: an argument of the wrong shape or value; a flatness that takes more than 65536
            segments per curve.

    Source: the bound is that of Filip, Magedson and Markot, "Surface algorithms using bounds on
    derivatives" (1986).
    """
    _check_points("control", control, "(..., 3, 2)", counts=(3,))
    return _cut(control, _count(control, samples, flatness, size))


def cubic_bezier(
    control: Tensor,
    *,
    samples: int | None = None,
    flatness: float | None = None,
    size: int | tuple[int, int] | None = None,
) -> Tensor:
    """Cut cubic Bezier curves into segments of equal parameter length.

    `control` is (..., 4, 2): start, two handles, end. The other arguments, the result, which is
    (..., samples, 4), and the errors are those of quadratic_bezier. The second derivative is
    bounded by 6 times the larger second difference of the four points.
    """
    _check_points("control", control, "(..., 4, 2)", counts=(4,))
    return _cut(control, _count(control, samples, flatness, size))


def catmull_rom(
    points: Tensor,
    *,
    alpha: float = 0.5,
    closed: bool = False,
    samples: int | None = None,
    flatness: float | None = None,
    size: int | tuple[int, int] | None = None,
) -> Tensor:
    """Cut a Catmull-Rom spline, which runs smoothly through all its points, into segments.

    Args:
        points, alpha, closed: as in catmull_rom_bezier.
        samples, flatness, size: as in cubic_bezier, for each piece from one point to the next.

    Returns:
        Segments, (..., (P - 1) * samples, 4), or (..., P * samples, 4) if `closed`.

    Raises:
        TypeError, ValueError: as catmull_rom_bezier and quadratic_bezier do.
    """
    control = catmull_rom_bezier(points, alpha=alpha, closed=closed)
    return _cut(control, _count(control, samples, flatness, size)).flatten(-3, -2)


def catmull_rom_bezier(points: Tensor, *, alpha: float = 0.5, closed: bool = False) -> Tensor:
    """Return the cubic Bezier curves that a Catmull-Rom spline consists of, for draw_curves or SVG.

    Neighbours a distance d apart are `d^alpha` apart in the parameter. Distances below 1e-5 count
    as 1e-5: so value and gradient stay finite where points coincide, and the curve passes there
    with next to no speed. Between points farther apart the spline is exact. Before the first point
    of an open curve the second one is reflected, behind the last the last but one.

    Args:
        points: (..., P, 2), x, y, in units of the longer canvas side. Fewer than 2 make no curve,
            unless `closed`.
        alpha: 0 to 1: 0 uniform, 0.5 centripetal (neither cusps nor loops between two points),
            1 chordal.
        closed: whether the curve returns to the first point.

    Returns:
        Control points, (..., P - 1, 4, 2), or (..., P, 4, 2) if `closed`.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: `points` of another shape, or `alpha` outside its range.

    Source: Catmull and Rom, "A class of local interpolating splines" (1974); Barry and Goldman, "A
    recursive evaluation algorithm for a class of Catmull-Rom splines" (1988); for `alpha`, Yuksel
    et al., "Parameterization and applications of Catmull-Rom curves" (2011).
    """
    _check_points("points", points, "(..., P, 2)")
    if not _is_number(alpha):
        raise TypeError(f"alpha must be a number, got {type(alpha).__name__}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha!r}")
    p = _widen(points)
    if closed:
        before, start, end, after = p.roll(1, -2), p, p.roll(-1, -2), p.roll(-2, -2)
    else:
        start, end = p[..., :-1, :], p[..., 1:, :]
        first = 2 * p[..., :1, :] - p[..., 1:2, :]
        last = 2 * p[..., -1:, :] - p[..., -2:-1, :]
        before = torch.cat([first, start[..., :-1, :]], dim=-2)
        after = torch.cat([end[..., 1:, :], last], dim=-2)

    into, along, out_of = start - before, end - start, after - end
    knot, knot_along, knot_out = (_knot(step, alpha) for step in (into, along, out_of))
    leave = _velocity(into, along, knot, knot_along)
    arrive = _velocity(out_of, along, knot_out, knot_along)
    control = torch.stack([start, start + leave / 3, end - arrive / 3, end], dim=-2)
    return control.to(points.dtype)


def to_cubic(control: Tensor) -> Tensor:
    """Write lines and quadratic Bezier curves as the cubic ones that are the same.

    Args:
        control: (..., K, 2): K = 2 for a line's ends, 3 for a quadratic curve, 4 comes back as is.

    Returns:
        Control points, (..., 4, 2).

    Raises:
        TypeError, ValueError: `control` of another type, dtype or shape.
    """
    _check_points("control", control, "(..., 2 to 4, 2)", counts=(2, 3, 4))
    if control.shape[-2] == 4:
        return control
    start, end = control[..., 0, :], control[..., -1, :]
    if control.shape[-2] == 2:
        handles = [(2 * start + end) / 3, (start + 2 * end) / 3]
    else:
        handles = [(start + 2 * control[..., 1, :]) / 3, (2 * control[..., 1, :] + end) / 3]
    return torch.stack([start, *handles, end], dim=-2)


def draw_polyline(
    points: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    *,
    closed: bool = False,
    **options: Any,
) -> Tensor:
    """Draw a chain of points, each joined to the next by a segment.

    Segments merge one by one: the pixel of a joint is covered by both, and comes out darker under
    every composite but "max", unless it is opaque and painted "over".

    Args:
        points: (..., P, 2), x, y, in units of the longer canvas side.
        softness: a number, or a tensor that broadcasts to (..., S) for S segments: P - 1, or P if
            `closed`.
        size: canvas size in pixels: an int for a square, or (height, width).
        closed: whether the last point joins the first.
        **options: those of draw_segments; what is per segment there is so here.

    Returns:
        Canvas, as of draw_segments.

    Raises:
        TypeError, ValueError, RuntimeError: as draw_segments does.
    """
    return draw_segments(polyline(points, closed=closed), softness, size, **options)


def draw_curves(
    control: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    *,
    samples: int | None = None,
    flatness: float | None = None,
    **options: Any,
) -> Tensor:
    """Draw Bezier curves, N on each canvas, with gradients to every input.

    Segments merge one by one: the pixel of a joint, between two segments of one curve as between
    two curves, is covered by both, and comes out darker under every composite but "max", unless it
    is opaque and painted "over".

    Args:
        control: (..., N, K, 2), x, y in units of the longer canvas side; K = 3 for quadratic
            curves, 4 for cubic ones. catmull_rom_bezier gives such.
        softness: of each curve: a number, or a tensor that broadcasts to (..., N).
        size: canvas size in pixels: an int for a square, or (height, width).
        samples: segments per curve, as in quadratic_bezier. To be given under torch.compile,
            torch.export, vmap and CUDA graphs, and where a GPU should not be waited for.
        flatness: as in quadratic_bezier, in place of `samples`. Default 0.1 pixels.
        **options: those of draw_segments. `intensity` and `width` are numbers or broadcast to
            (..., N), `color` to (..., N, C): one for each curve.

    Returns:
        Canvas, as of draw_segments.

    Raises:
        TypeError, ValueError, RuntimeError: as quadratic_bezier and draw_segments do.

    Example:
        >>> control = torch.tensor([[[0.1, 0.8], [0.5, -0.4], [0.9, 0.8]]], requires_grad=True)
        >>> canvas = softraster.draw_curves(control, 6 * 28, 28, composite="max")
        >>> canvas.shape
        torch.Size([28, 28])
    """
    _check_points("control", control, "(..., N, 3 or 4, 2)", axes=3, counts=(3, 4))
    if samples is None and flatness is None:
        flatness = DEFAULT_FLATNESS
    count = _count(control, samples, flatness, size)
    curves = control.shape[-3]
    for name, dim in (("intensity", -1), ("width", -1), ("color", -2)):
        if name in options:
            options[name] = _per_segment(name, options[name], curves, count, dim)
    softness = _per_segment("softness", softness, curves, count, -1)
    return draw_segments(_cut(control, count).flatten(-3, -2), softness, size, **options)


def _cut(control: Tensor, count: int) -> Tensor:
    """Evaluate the Bernstein polynomials at 0, 1/count, ..., 1 and join the points."""
    degree = control.shape[-2] - 1
    wide = _widen(control)
    t = torch.arange(count + 1, dtype=wide.dtype, device=wide.device)[:, None] / count
    # Not a matrix product, which autocast and TF32 would round to 8 or 10 bits.
    points = torch.zeros((), dtype=wide.dtype, device=wide.device)
    for k, p in enumerate(wide.unbind(-2)):
        points = points + math.comb(degree, k) * t**k * (1 - t) ** (degree - k) * p[..., None, :]
    return polyline(points.to(control.dtype))


def _count(
    control: Tensor,
    samples: int | None,
    flatness: float | None,
    size: int | tuple[int, int] | None,
) -> int:
    """Return how many segments to cut each curve of `control`, (..., K, 2), into."""
    if (samples is None) == (flatness is None):
        raise TypeError(
            f"one of samples and flatness must be given, got samples={samples!r} and"
            f" flatness={flatness!r}"
        )
    if flatness is None:
        if not _is_integer(samples):
            raise TypeError(f"samples must be an int, got {type(samples).__name__}")
        if not 1 <= samples <= MAX_SAMPLES:
            raise ValueError(f"samples must be from 1 to {MAX_SAMPLES}, got {samples!r}")
        return samples
    if not _is_number(flatness):
        raise TypeError(f"flatness must be a number, got {type(flatness).__name__}")
    if not 0 < flatness < math.inf:
        raise ValueError(f"flatness must be more than 0, and finite, got {flatness!r}")
    if size is None:
        raise TypeError("size must be given with flatness, which is in pixels, got None")
    if control.numel() == 0:
        return 1
    degree = control.shape[-2] - 1
    bend = _widen(control.detach()).double().diff(n=2, dim=-2).norm(dim=-1)
    # The one look at values: it waits for the device.
    bend = degree * (degree - 1) * bend.nan_to_num(0, 0, 0).max().item()
    count = max(1, math.ceil(math.sqrt(bend * max(_check_size(size)) / flatness / 8)))
    if count > MAX_SAMPLES:
        raise ValueError(
            f"flatness must be kept by {MAX_SAMPLES} segments per curve, but {flatness!r} takes"
            f" {count} of them for these points"
        )
    return count


def _per_segment(name: str, value: Any, curves: int, count: int, dim: int) -> Any:
    """Repeat what there is one of per curve, along `dim`, for each of its `count` segments."""
    if not isinstance(value, Tensor) or value.dim() < -dim:
        return value
    if value.shape[dim] == 1:
        shape = list(value.shape)
        shape[dim] = curves * count
        return value.expand(shape)
    if value.shape[dim] != curves:
        raise ValueError(
            f"{name} must be a number or have a shape that broadcasts to"
            f" (..., N{', C' if dim == -2 else ''}) with N = {curves} curves,"
            f" got {tuple(value.shape)}"
        )
    return value.repeat_interleave(count, dim)


def _knot(step: Tensor, alpha: float) -> Tensor:
    """|step|^alpha, (..., 1), whose gradient is finite at 0, where the root's is not."""
    return step.square().sum(-1, keepdim=True).clamp_min(CLOSEST**2) ** (alpha / 2)


def _velocity(outer: Tensor, along: Tensor, knot: Tensor, knot_along: Tensor) -> Tensor:
    """The velocity where a piece meets its neighbour, with the piece's parameter from 0 to 1."""
    return (outer * knot_along**2 / knot + along * knot) / (knot + knot_along)


def _widen(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32: three digits are too few for the polynomials."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _check_points(
    name: str, points: Tensor, shape: str, *, axes: int = 2, counts: tuple[int, ...] = ()
) -> None:
    if not isinstance(points, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(points).__name__}")
    if points.dtype not in DTYPES:
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, got {points.dtype}")
    given = tuple(points.shape)
    if len(given) < axes or given[-1] != 2 or (counts and given[-2] not in counts):
        raise ValueError(f"{name} must have the shape {shape}, x y, got {given}")
