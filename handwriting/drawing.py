"""What a trained model draws for thinned digits, as arrays.

The model's file is left to `checkpoint.py`, files of strokes to `formats.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from handwriting._extras import require
from handwriting.strokes import pen_lifted

_BATCH = 250


@torch.no_grad()
def write_digits(
    writer: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    progress: bool = False,
) -> np.ndarray:
    """Draw digits with a model.

    Args:
        writer: images (B, 28, 28) float32 and labels (B,) to strokes (B, P, 3) of x, y, softness.
        images: (n, 28, 28) of 0 and 1, thinned digits.
        labels: (n,), 0 to 9.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        (n, P, 3) float32: x, y, and 1 where the pen is lifted after this point, by `pen_lifted`;
        after the last point it is.
    """
    drawings = []
    batches = list(zip(images.split(_BATCH), labels.split(_BATCH), strict=True))
    for some, their_labels in require("tqdm").tqdm(
        batches, desc="writing", unit=" batches", disable=None if progress else True
    ):
        strokes = writer(some.to(torch.float32), their_labels)
        flags = torch.ones_like(strokes[..., :1])
        flags[:, :-1, 0] = pen_lifted(strokes).to(flags.dtype)
        drawings.append(torch.cat((strokes[..., :2], flags), dim=2).numpy())
    return np.concatenate(drawings)
