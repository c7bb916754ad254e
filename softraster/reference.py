"""docs/math.md in plain PyTorch, as the source post states it; gradients by autograd.

Both masks of a line and their maximum are computed over all pixels, so memory grows with segments x
pixels. Never imports the extension: the tests hold the fused op against this file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softraster._arguments import DEFAULT_TOLERANCE, check_scene

# Shorter than this along both axes, in pixels, a segment has no direction: it is a dot.
DOT_LENGTH = 1e-6


def draw_segments(
    segments: Tensor,
    softness: float | Tensor,
    size: int | tuple[int, int],
    *,
    intensity: float | Tensor | None = None,
    composite: str = "sum",
    tolerance: float = DEFAULT_TOLERANCE,
) -> Tensor:
    """Draw as softraster.draw_segments does, in eager PyTorch.

    Args, result and errors are those of softraster.draw_segments. `tolerance` is checked and has no
    effect: every pixel is visited.

    Source: "MNIST to handwriting" (2017), and docs/math.md (M1).
    """
    scene = check_scene(segments, softness, size, intensity, composite, tolerance)
    layers = coverage(scene.segments, scene.softness, scene.height, scene.width)
    finite = 0 * scene.segments.sum(-1) + 0 * scene.softness
    finite = finite.masked_fill(scene.softness < 0, torch.nan)
    if scene.intensity is not None:
        layers = layers * scene.intensity[..., None, None]
        finite = finite + 0 * scene.intensity
    # One layer of zeros first: the canvas before anything is drawn, and the answer for N = 0.
    blank = layers.new_zeros(*layers.shape[:-3], 1, scene.height, scene.width)
    layers = torch.cat([blank, layers], dim=-3)
    # Of equal layers, max gives the first the gradient.
    canvas = layers.sum(-3) if scene.composite == "sum" else layers.max(-3).values
    return (canvas + finite.sum(-1)[..., None, None]).to(scene.canvas_dtype)


def coverage(segments: Tensor, softness: Tensor, height: int, width: int) -> Tensor:
    """Return how much of each pixel each segment covers, (..., N, height, width), from 0 to 1.

    Args:
        segments: (..., N, 4), x1, y1, x2, y2 in units of the longer canvas side.
        softness: (..., N), per unit.
        height: pixels.
        width: pixels.

    Source: docs/math.md (M1).
    """
    h = 1 / max(height, width)
    x1, y1, x2, y2 = segments[..., None, None].unbind(-3)
    k = softness[..., None, None]
    i = torch.arange(height, dtype=segments.dtype, device=segments.device)[:, None]
    j = torch.arange(width, dtype=segments.dtype, device=segments.device)

    def soften(t: Tensor) -> Tensor:
        return torch.sigmoid(k * t)

    # The line through the segment's midpoint crosses column j at y = v, and row i at x = u. Along a
    # dot, which has no direction, both stay at the midpoint.
    xm, ym = (x1 + x2) / 2, (y1 + y2) / 2
    dx, dy = x2 - x1, y2 - y1
    dot = (dx.abs() < DOT_LENGTH * h) & (dy.abs() < DOT_LENGTH * h)
    x1, x2, y1, y2 = (torch.where(dot, m, e) for m, e in ((xm, x1), (xm, x2), (ym, y1), (ym, y2)))
    slope_v = torch.where(dot, 0, _divide(dy, dx))
    slope_u = torch.where(dot, 0, _divide(dx, dy))
    v = ((j + 0.5) * h - xm) * slope_v + ym
    u = ((i + 0.5) * h - ym) * slope_u + xm
    vertical = soften(v - i * h) * soften((i + 1) * h - v)
    horizontal = soften(u - j * h) * soften((j + 1) * h - u)

    rectangle = (
        soften((j + 1) * h - torch.minimum(x1, x2))
        * soften(torch.maximum(x1, x2) - j * h)
        * soften((i + 1) * h - torch.minimum(y1, y2))
        * soften(torch.maximum(y1, y2) - i * h)
    )
    return torch.maximum(vertical, horizontal) * rectangle


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, a tiny divisor standing in for 0: the mask that it is for loses to the other."""
    return a / torch.where(b.abs() < 1e-18, torch.full_like(b, 1e-18), b)
