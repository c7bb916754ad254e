"""docs/math.md in plain PyTorch, as the source post states it; gradients by autograd.

Both masks of a line and their maximum are computed over all pixels, so memory grows with segments x
pixels. Never imports the extension: the tests hold the fused op against this file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softraster._arguments import DEFAULT_TOLERANCE, Scene, check_scene

# Shorter than this along both axes, in pixels, a segment has no direction: it is a dot.
DOT_LENGTH = 1e-6


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
    """Draw as softraster.draw_segments does, in eager PyTorch.

    Args, result and errors are those of softraster.draw_segments. `tolerance` is checked and has no
    effect: every pixel is visited.

    Source: "MNIST to handwriting" (2017), and docs/math.md (M1).
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
    if scene.coverage == "grid":
        covered = grid_coverage(scene.segments, scene.softness, scene.rows, scene.columns)
    else:
        covered = capsule_coverage(
            scene.segments, scene.softness, scene.width, scene.rows, scene.columns
        )
    if scene.intensity is not None:
        covered = covered * scene.intensity[..., None, None]
    # A channel dimension, before rows and columns: (..., N, C, rows, columns).
    covered = covered.unsqueeze(-3)
    ink = covered.new_ones(1) if scene.color is None else scene.color
    ink = ink[..., None, None]
    if scene.composite == "sum":
        canvas = (covered * ink).sum(-4)
    elif scene.composite == "max":
        canvas = _strongest(covered, ink)
    elif scene.composite == "softor":
        canvas = 1 - (1 - covered * ink).prod(-4)
    else:
        canvas = _paint(covered, ink, scene.background)
    canvas = canvas + _nan_where_invalid(scene)[..., None, None, None]
    if scene.color is None:
        canvas = canvas.squeeze(-3)
    return canvas.to(scene.canvas_dtype)


def _strongest(covered: Tensor, ink: Tensor) -> Tensor:
    """covered * ink of the segment with the largest coverage in each pixel, 0 where that is 0."""
    # A blank layer first: the canvas before anything is drawn, and the answer for N = 0.
    blank = covered.new_zeros(*covered.shape[:-4], 1, *covered.shape[-3:])
    covered = torch.cat([blank, covered], dim=-4)
    strongest, winner = covered.max(-4)  # of equal segments the first
    if ink.dim() == 3:  # one channel of ones
        return strongest
    first = ink.new_zeros(*ink.shape[:-4], 1, *ink.shape[-3:])
    ink = torch.cat([first, ink], dim=-4).expand(
        *covered.shape[:-3], ink.shape[-3], *covered.shape[-2:]
    )
    index = winner.unsqueeze(-4).expand(*winner.shape[:-3], 1, ink.shape[-3], *winner.shape[-2:])
    return strongest * ink.gather(-4, index).squeeze(-4)


def _paint(covered: Tensor, ink: Tensor, background: Tensor | None) -> Tensor:
    """One segment after the other, later ones on top."""
    canvas = covered.new_zeros(*covered.shape[:-4], ink.shape[-3], *covered.shape[-2:])
    if background is not None:
        canvas = canvas + background[..., None, None]
    for n in range(covered.shape[-4]):
        layer = ink if ink.dim() == 3 else ink[..., n, :, :, :]
        canvas = canvas + covered[..., n, :, :, :] * (layer - canvas)
    return canvas


def _nan_where_invalid(scene: Scene) -> Tensor:
    """0 for each canvas, or NaN if it has a segment that is not finite, soft or wide below 0."""
    per_segment = (0 * scene.segments).sum(-1) + 0 * scene.softness
    per_segment = per_segment.masked_fill(scene.softness < 0, torch.nan)
    if scene.intensity is not None:
        per_segment = per_segment + 0 * scene.intensity
    if scene.width is not None:
        per_segment = (per_segment + 0 * scene.width).masked_fill(scene.width < 0, torch.nan)
    return per_segment.sum(-1)


def grid_coverage(segments: Tensor, softness: Tensor, rows: int, columns: int) -> Tensor:
    """Return how much of each pixel each segment covers, (..., N, rows, columns), from 0 to 1.

    Args:
        segments: (..., N, 4), x1, y1, x2, y2 in units of the longer canvas side.
        softness: (..., N), per unit.
        rows: pixels of the canvas.
        columns: pixels of the canvas.

    Source: docs/math.md (M1).
    """
    h = 1 / max(rows, columns)
    x1, y1, x2, y2 = segments[..., None, None].unbind(-3)
    k = softness[..., None, None]
    i = torch.arange(rows, dtype=segments.dtype, device=segments.device)[:, None]
    j = torch.arange(columns, dtype=segments.dtype, device=segments.device)

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


def capsule_coverage(
    segments: Tensor, softness: Tensor, width: Tensor, rows: int, columns: int
) -> Tensor:
    """Return how much of each pixel each stroke with round caps covers, (..., N, rows, columns).

    Args:
        segments: (..., N, 4), x1, y1, x2, y2 in units of the longer canvas side.
        softness: (..., N), per unit.
        width: (..., N), full ink width, in the units of segments.
        rows: pixels of the canvas.
        columns: pixels of the canvas.

    Source: docs/math.md (M9).
    """
    h = 1 / max(rows, columns)
    x1, y1, x2, y2 = segments[..., None, None].unbind(-3)
    y = (torch.arange(rows, dtype=segments.dtype, device=segments.device)[:, None] + 0.5) * h
    x = (torch.arange(columns, dtype=segments.dtype, device=segments.device) + 0.5) * h
    dx, dy = x2 - x1, y2 - y1
    dot = (dx.abs() < DOT_LENGTH * h) & (dy.abs() < DOT_LENGTH * h)
    # The nearest point of the segment, from 0 at its first end to 1 at its second.
    length2 = torch.where(dot, 1, dx * dx + dy * dy)
    nearest = (((x - x1) * dx + (y - y1) * dy) / length2).clamp(0, 1)
    nearest = torch.where(dot, 0.5, nearest)
    away_x, away_y = x - (x1 + nearest * dx), y - (y1 + nearest * dy)
    distance2 = away_x * away_x + away_y * away_y
    distance = torch.where(distance2 > 0, distance2, 1).sqrt() * (distance2 > 0)
    return torch.sigmoid(softness[..., None, None] * (width[..., None, None] / 2 - distance))


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, a tiny divisor standing in for 0: the mask that it is for loses to the other."""
    return a / torch.where(b.abs() < 1e-18, torch.full_like(b, 1e-18), b)
