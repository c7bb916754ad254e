"""What training minimises, one function each. Canvases come from `softraster`."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

# Standard deviation in pixels, and weight, of the blurs that `blurred_loss` sums over: the wider a
# blur, the smaller the squares that are left of an error.
BLURS = ((1.0, 2.0), (2.0, 4.0), (4.0, 8.0))


def pixel_loss(canvas: Tensor, target: Tensor) -> Tensor:
    """Mean over all pixels of (canvas - target)^2.

    Args:
        canvas: (B, H, W), the merged segments, >= 0; may exceed 1 where they are summed.
        target: (B, H, W), the image to match, 0 is ground and 1 is ink.

    Returns:
        Scalar. For thinned MNIST an empty canvas gives 0.049.
    """
    return (canvas - target).square().mean()


def blurred_loss(canvas: Tensor, target: Tensor) -> Tensor:
    """Sum over (sigma, weight) in BLURS of weight * mean((G canvas - G target)^2).

    G is a Gaussian blur of sigma pixels, with nothing beyond the edges. Ink that lies pixels away
    from the target's has no gradient in `pixel_loss` once lines are hard; here it has.

    Args:
        canvas: (B, H, W), as `pixel_loss` takes it.
        target: (B, H, W), likewise.

    Returns:
        Scalar.
    """
    error = canvas - target
    down, across = (_blurs(size, error.dtype, error.device) for size in error.shape[-2:])
    blurred = down[:, None] @ error @ across[:, None]
    weights = blurred.new_tensor([weight for _, weight in BLURS])
    return (weights * blurred.square().mean((1, 2, 3))).sum()


def length_loss(points: Tensor) -> Tensor:
    """Mean over all segments of |p_{i+1} - p_i|, those with the pen up included.

    Args:
        points: (B, P, 2 or more), x and y first, P at least 2.

    Returns:
        Scalar, in units of the canvas side.

    Source: the auxiliary distance loss of "MNIST to handwriting" (2017), which weighs it 0.01.
    """
    return torch.linalg.vector_norm(_steps(points), dim=-1).mean()


def turning_loss(points: Tensor) -> Tensor:
    """1 - mean over all inner points of the cosine between the segments before and after.

    A segment's direction is v / sqrt(|v|^2 + 1e-7), so one shorter than 3e-4 hardly counts.

    Args:
        points: (B, P, 2 or more), x and y first, P at least 3.

    Returns:
        Scalar, 0 for straight strokes, 2 for those that only turn back.

    Source: the auxiliary angular loss of "MNIST to handwriting" (2017), which weighs it 0.01.
    """
    steps = _steps(points)
    directions = steps / (steps.square().sum(-1, keepdim=True) + 1e-7).sqrt()
    return 1 - (directions[:, 1:] * directions[:, :-1]).sum(-1).mean()


def stroke_loss(written: Tensor, collected: Tensor, scale: float | None = None) -> Tensor:
    """Mean squared error of x and y; with a scale, bounded for each drawing.

    With m a drawing's mean squared error and d^2 = 2 m the mean square of its points' distances,
    the bounded loss is the mean over drawings of m / (1 + d^2 / scale^2). People write the same
    digit in several ways. The squared error is least for their mean, which nobody writes; this one
    for a way that many write, because drawings far off, over the scale, hardly pull.

    Args:
        written: (B, P, 2 or more), x and y first.
        collected: the same, what to write.
        scale: > 0, in units of the canvas side; None: unbounded.

    Returns:
        Scalar.

    Source: the bound is that of S. Geman and D. E. McClure, "Statistical methods for tomographic
    image reconstruction", Bulletin of the International Statistical Institute 52(4), 1987.
    """
    squares = (written[..., :2] - collected[..., :2]).square()
    if scale is None:
        return squares.mean()
    errors = squares.mean(dim=(1, 2))
    return (errors / (1 + 2 * errors * (1 / scale) ** 2)).mean()


def _steps(points: Tensor) -> Tensor:
    return points[:, 1:, :2] - points[:, :-1, :2]


@functools.lru_cache(maxsize=8)
def _blurs(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(len(BLURS), size, size) symmetric matrices that blur a row or column of `size` pixels."""
    place = torch.arange(size, dtype=torch.float64)
    apart = (place[:, None] - place).abs()
    weights = torch.stack([torch.exp(-0.5 * (place / sigma) ** 2) for sigma, _ in BLURS])
    weights /= 2 * weights.sum(1, keepdim=True) - weights[:, :1]
    return weights[:, apart.long()].to(device, dtype)
