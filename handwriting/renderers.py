"""What turns strokes into canvases while a writer is trained: soft lines, or the neural line model.

Both are differentiable; `softraster` and `models/line_model.py` do the drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import softraster
from handwriting.checkpoint import load_line_model
from handwriting.models.writer import IMAGE_SIZE
from handwriting.strokes import LIFTED_LOG_SOFTNESS

RENDERERS = ("soft", "line_model")

# (B, P, 3) strokes to (B, 28, 28) canvases.
Renderer = Callable[[Tensor], Tensor]


def soft_renderer(composite: str) -> Renderer:
    """Draws strokes as soft lines, merged by "sum" or "max"."""
    return lambda strokes: softraster.draw_strokes(strokes, IMAGE_SIZE, composite=composite)


def line_model_renderer(path: Path, composite: str, device: torch.device) -> Renderer:
    """Draws strokes with the line model in the file `path`, its weights frozen.

    That model takes a flag in 0..1 for a point after which the pen is lifted, where a stroke has a
    softness s: the flag is sigmoid(LIFTED_LOG_SOFTNESS - log s), over half where `pen_lifted` says
    lifted. So a stroke means the same to both renderers.

    Raises:
        OSError, ValueError: as `load_line_model` does.
    """
    model = load_line_model(path).to(device)
    half = math.exp(LIFTED_LOG_SOFTNESS)

    def draw(strokes: Tensor) -> Tensor:
        lifted = half / (half + strokes[..., 2:])
        return model.draw(torch.cat((strokes[..., :2], lifted), dim=-1), composite=composite)

    return draw
