"""What training minimises, one function each. Canvases come from `softraster`."""

from __future__ import annotations

from torch import Tensor


def pixel_loss(canvas: Tensor, target: Tensor) -> Tensor:
    """Mean over all pixels of (canvas - target)^2.

    Args:
        canvas: (B, H, W), the sum of the segments, >= 0; may exceed 1 where they cross.
        target: (B, H, W), the image to match, 0 is ground and 1 is ink.

    Returns:
        Scalar. For thinned MNIST an empty canvas gives 0.049.
    """
    return (canvas - target).square().mean()
