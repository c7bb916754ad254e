"""Lines in eager PyTorch, as fast as it goes: one window over all pixels, and distance fields.

What users would write without softraster, gradients by autograd. Both take draw_segments'
arguments; memory grows with segments x pixels. The reference is softraster's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Pixels x segments that box_window works on at once: 1 MB a plane, which stays in the caches.
CHUNK = 2**18

# A line's sigma in distance_field, in units of 1 / softness: half a pixel at 6 per pixel.
SIGMA = 3.0


def window_planes(segments: Tensor, softness: Tensor, size: Sequence[int]) -> Tensor:
    """Coverage "grid", summed over segments: (B, N, 4) and (B, N) to (B, height, width).

    By (M3) of docs/math.md the longer axis decides for a whole segment, so there is one window, of
    an offset that is the sum of a row's and a column's number; the rectangle is an outer product.
    Written as the difference of two logistic functions, a soft box costs two passes over the pixels
    and no product. It divides by 1 - exp(-softness * pixel), so softness must be above 0.
    """
    h = 1 / max(size)
    x1, y1, x2, y2 = segments.unbind(-1)
    dx, dy, k = x2 - x1, y2 - y1, softness[..., None]
    flat = dx.abs() >= dy.abs()
    slope = torch.where(flat, dy, dx) / torch.where(flat, dx, dy)
    rows, columns = (torch.arange(n, device=k.device, dtype=k.dtype) for n in size)
    from_mid_y = (rows + 0.5) * h - (y1 + y2)[..., None] / 2
    from_mid_x = (columns + 0.5) * h - (x1 + x2)[..., None] / 2
    row = k * from_mid_y * torch.where(flat, -1.0, slope)[..., None]
    column = k * from_mid_x * torch.where(flat, slope, -1.0)[..., None]

    def box(offset: Tensor, half: Tensor) -> Tensor:
        return torch.sigmoid(k * (half + offset)) * torch.sigmoid(k * (half - offset))

    box_y = box(from_mid_y, (dy.abs()[..., None] + h) / 2)
    box_x = box(from_mid_x, (dx.abs()[..., None] + h) / 2)
    half = k * (h / 2)
    box_y = box_y / -torch.expm1(-2 * half)
    upper = torch.sigmoid((row + half)[..., None] + column[..., None, :])
    lower = torch.sigmoid((row - half)[..., None] + column[..., None, :])
    return ((upper - lower) * box_y[..., None] * box_x[..., None, :]).sum(-3)


def box_window(
    segments: Tensor,
    softness: Tensor,
    size: tuple[int, int],
    *,
    coverage: str = "grid",
    composite: str = "sum",
) -> Tensor:
    """The best eager form we found of softraster's default: window_planes, chunk by chunk.

    Tried on W1 and on a quarter of W3, one thread, forward + backward. The window as a product of
    two logistic functions takes 1.1 to 1.3 times as long, of two hyperbolic tangents the same, with
    one exponential 1.6 to 2.1 times, with a hyperbolic cosine 1.1 to 1.5; both boxes multiplied
    first 1.2; one box contracted by einsum 1.4 to 1.9, both 1.9 to 3.4. Chunks of 2**18 pixels x
    segments take 0.6 (W1) and 0.4 (W3) of the time of one piece, since smaller planes stay in the
    caches and their memory is used again; 2**16 and 2**17 are slower than that, 2**19 is slower on
    W3. Computing chunks again in the backward pass (torch.utils.checkpoint) takes 1.4 to 1.8 times
    as long, though it saves memory.
    """
    if (coverage, composite) != ("grid", "sum"):
        raise ValueError(f"draws grid and sum, not {coverage} and {composite}")
    pixels = math.prod(size)
    if softness.numel() * pixels <= CHUNK:
        return window_planes(segments, softness, size)
    items = max(1, CHUNK // (softness.shape[1] * pixels))
    canvases = []
    for item in zip(segments.split(items), softness.split(items), strict=True):
        each = max(1, CHUNK // (len(item[1]) * pixels))
        parts = zip(*(x.split(each, dim=1) for x in item), strict=True)
        canvas = window_planes(*next(parts), size)
        for part in parts:
            canvas = canvas + window_planes(*part, size)
        canvases.append(canvas)
    return torch.cat(canvases)


def distance_field(
    segments: Tensor,
    softness: Tensor,
    size: tuple[int, int],
    *,
    coverage: str = "grid",
    composite: str = "sum",
) -> Tensor:
    """Distance fields in the manner of dsketch: exp(-(distance / sigma)^2), merged by soft or.

    The distance is from a pixel's centre to the nearest point of a segment, sigma is SIGMA /
    softness. So it draws neither of softraster's coverages, whatever `coverage` and `composite`
    say: a line about a pixel wide with round caps. One clamped projection for each pixel; dsketch
    itself adds up three masked maps of 2-vectors.
    """
    h = 1 / max(size)
    x1, y1, x2, y2 = segments[..., None, None].unbind(-3)
    y, x = ((torch.arange(n, device=x1.device, dtype=x1.dtype) + 0.5) * h for n in size)
    y = y[:, None]
    dx, dy = x2 - x1, y2 - y1
    length2 = dx * dx + dy * dy
    nearest = ((x - x1) * (dx / length2) + (y - y1) * (dy / length2)).clamp(0, 1)
    away_x, away_y = x - x1 - nearest * dx, y - y1 - nearest * dy
    distance2 = away_x * away_x + away_y * away_y
    ink = torch.exp(distance2 * -((softness / SIGMA) ** 2)[..., None, None])
    return 1 - (1 - ink).prod(-3)


def distance_field_at(inputs: dict[str, np.ndarray], pixels: np.ndarray, side: int) -> np.ndarray:
    """What distance_field should draw at some pixels, in NumPy, another way: by three cases.

    Args:
        inputs: segments (B, N, 4) and softness (B, N), float64.
        pixels: (B, P, 2), row and column.
        side: longer side of the canvas, in pixels.

    Returns:
        (B, P).
    """
    point = (pixels[:, :, None, ::-1] + 0.5) / side
    first, second = inputs["segments"][:, None, :, :2], inputs["segments"][:, None, :, 2:]
    line = second - first
    length = np.linalg.norm(line, axis=-1)
    before = ((point - first) * line).sum(-1) < 0
    beyond = ((point - second) * line).sum(-1) > 0
    across = (point - first)[..., 0] * line[..., 1] - (point - first)[..., 1] * line[..., 0]
    distance = np.abs(across) / length
    distance = np.where(before, np.linalg.norm(point - first, axis=-1), distance)
    distance = np.where(beyond, np.linalg.norm(point - second, axis=-1), distance)
    ink = np.exp(-((distance * inputs["softness"][:, None] / SIGMA) ** 2))
    return 1 - np.prod(1 - ink, axis=-1)
