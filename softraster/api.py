"""The public drawing functions: defaults, docstrings, and the way into the fused op."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softraster import _ops
from softraster._arguments import DEFAULT_TOLERANCE, check_scene


def draw_segments(
    segments: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    *,
    width: float | Tensor | None = None,
    intensity: float | Tensor | None = None,
    color: Tensor | None = None,
    background: float | Tensor | None = None,
    coverage: str = "grid",
    composite: str = "sum",
    tolerance: float = DEFAULT_TOLERANCE,
) -> Tensor:
    """Draw line segments as soft lines, with gradients to every input.

    Points are in units of the longer canvas side, x to the right and y down; (0, 0) is the top left
    corner of the canvas, and the centre of pixel [i, j] is ((j + 0.5) / side, (i + 0.5) / side) for
    side = max(height, width).

    Args:
        segments: (..., N, 4), x1, y1, x2, y2. Any leading batch dimensions; N may be 0. Points may
            lie off the canvas. A segment shorter than a millionth of a pixel is a dot.
        softness: 0 or more, per unit: edges are `sigmoid(softness * distance)`, so a *larger*
            number draws a harder line, and 0 a constant faint grey. 6 * side looks crisp. A number,
            or a tensor that broadcasts to (..., N).
        size: canvas size in pixels: an int for a square, or (height, width).
        width: full ink width, in the units of points, 0 or more; with coverage "capsule", which
            needs it. A number, or a tensor that broadcasts to (..., N).
        intensity: how strongly a segment inks, from 0 to 1; 0 means absent, which serves ragged
            batches and lifted pens. A number, or a tensor that broadcasts to (..., N). Default 1.
        color: what a segment inks, broadcasting to (..., N, C), any C from 1 on, usually 0 to 1.
            With it the canvas has C channels. Without, one channel of 1 and no channel dimension.
        background: canvas under the first segment, with composite "over". A number, or a tensor
            that broadcasts to (..., C), or to (...) without color. Default 0.
        coverage: the formula of a segment's coverage of a pixel, 0 to 1. "grid" is the source
            post's: about a pixel wide, thicker on the diagonal. "capsule" is a stroke with round
            caps, equally thick in every direction.
        composite: how segments merge in a pixel. With a = intensity * coverage: "sum" adds
            a * color; "max" takes a * color of the segment with the largest a; "softor" is
            1 - prod(1 - a * color); "over" paints in drawing order, later segments on top:
            canvas + a * (color - canvas), from the background on.
        tolerance: coverage below this, of one segment in one pixel, may be left out together with
            its gradient; work then grows with the ink. In [0, 1); 0 visits every pixel.

    Returns:
        Canvas, (..., height, width), or (..., C, height, width) with color, in the dtype of
        `segments`. float16 and bfloat16 are computed in float32; under autocast they also give a
        float32 canvas.

        Tensors' values are not checked. A segment that is NaN or infinite, or has negative
        softness or width, makes its own canvas and its own gradient NaN, and touches no other item
        of the batch. Where the gradient jumps, one side is taken: at exactly 45 degrees that of the
        flatter segment, between equal coverages under "max" that of the first segment. Along an
        axis, and for a dot, it is the mean of both sides. Second derivatives raise RuntimeError.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: an argument of the wrong shape, value or device.
        RuntimeError: `segments` on a device without kernels; no memory for the canvas.

    Source: the soft line model of "MNIST to handwriting" (2017); derivation in docs/math.md.

    Example:
        >>> segments = torch.tensor([[0.2, 0.2, 0.8, 0.7]], requires_grad=True)
        >>> canvas = softraster.draw_segments(segments, softness=6 * 28, size=28)
        >>> canvas.shape
        torch.Size([28, 28])
    """
    scene = check_scene(
        segments,
        softness,
        size,
        width,
        intensity,
        color,
        background,
        coverage,
        composite,
        tolerance,
    )
    if not scene.segments.is_cpu:
        _check_device(scene.segments.device)
    canvas = _ops.draw_segments(scene)
    return canvas if canvas.dtype == scene.canvas_dtype else canvas.to(scene.canvas_dtype)


def _check_device(device: torch.device) -> None:
    if device.type == "cuda" and not _ops.CUDA_ARCHS:
        raise RuntimeError(
            "segments are on a CUDA device, but softraster was built without CUDA kernels. Where"
            " nvcc is on the PATH, build it again with SOFTRASTER_CUDA=1 pip install"
            " --force-reinstall --no-deps . in softraster's source folder; or move the tensors with"
            " .cpu()"
        )
    if device.type not in ("cuda", "meta"):
        raise RuntimeError(
            f"segments must be on the CPU or a CUDA device: softraster has no kernels for {device}."
            " Move the tensors with .cpu()"
        )


def draw_strokes(
    points: Tensor,
    size: int | tuple[int, int],
    **options: Any,
) -> Tensor:
    """Draw strokes: chains of points, each joined to the next by a segment of its own softness.

    Args:
        points: (..., P, 3), x, y, softness, as handwriting models emit them; units as in
            draw_segments. Points p and p + 1 make segment p, with the softness of point p; that of
            the last point is not used. Fewer than 2 points draw nothing.
        size: canvas size in pixels: an int for a square, or (height, width).
        options: keyword arguments of draw_segments from `width` on; what it takes for each of its
            N segments is for each of the P - 1 segments here.

    Returns:
        Canvas, as draw_segments does.

    Raises:
        TypeError, ValueError, RuntimeError: as draw_segments does.
    """
    if not isinstance(points, Tensor):
        raise TypeError(f"points must be a tensor, got {type(points).__name__}")
    if points.dim() < 2 or points.shape[-1] != 3:
        raise ValueError(
            f"points must have the shape (..., P, 3), x y softness, got {tuple(points.shape)}"
        )
    ends = points[..., :2]
    segments = torch.cat([ends[..., :-1, :], ends[..., 1:, :]], dim=-1)
    return draw_segments(segments, points[..., :-1, 2], size, **options)
