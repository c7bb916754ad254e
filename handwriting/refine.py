"""Drawings moved by gradient descent to where the ink of a photograph is.

Strokes are drawn by softraster with the width of the photograph's pen and compared with the ink.
Where the ink comes from is left to frame.py, the first drawing to a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import softraster
from handwriting.losses import blurred_loss, pixel_loss
from handwriting.strokes import pen_lifted

STEPS = 100

_RATE = 0.008  # of Adam for points, in units of the canvas side; falls to a tenth
_LOG_RATE = 0.03  # for the logarithms of softness and width
_EVEN = 30.0  # price of neighbouring segments' difference in length, squared
_EDGE = 3.0  # softness at first, per pixel of the target


@dataclass(frozen=True, eq=False)
class Refined:
    """Drawings before and after.

    Attributes:
        strokes: (n, P, 3), x, y and softness of the best drawing, as the loss has it.
        width: (n,), of its ink, in units of the canvas side.
        before: (n,), loss of the drawing that was given.
        after: (n,), loss of the best; never above `before`.
    """

    strokes: Tensor
    width: Tensor
    before: Tensor
    after: Tensor


def refine(strokes: Tensor, targets: Tensor, width: Tensor, steps: int = STEPS) -> Refined:
    """Move the points of drawings so that they cover the ink of their targets.

    The loss is `pixel_loss` and `blurred_loss` of a canvas with capsules of the pen's width, merged
    by "max". Points, softness and one width for each drawing are learned by Adam. Segments that
    `pen_lifted` takes for no ink are none, and stay so. A small price keeps neighbouring segments
    of similar length; it has no part in the losses returned.

    Args:
        strokes: (n, P, 3), x, y and softness, as a model writes them.
        targets: (n, S, S), 0 is ground and 1 is ink.
        width: (n,), of the ink, in units of the canvas side.
        steps: of descent, at least 0.

    Raises:
        ValueError: shapes that do not fit, or `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    count, side = len(strokes), targets.shape[-1]
    if targets.shape != (count, side, side) or width.shape != (count,):
        raise ValueError(
            f"{count} drawings, but targets of shape {tuple(targets.shape)} and widths of shape "
            f"{tuple(width.shape)}"
        )
    down = 1.0 - pen_lifted(strokes).to(strokes.dtype)
    points = strokes[..., :2].detach().clone().requires_grad_()
    log_edge = torch.full_like(down, _EDGE * side).log().requires_grad_()
    log_width = width.to(strokes.dtype).log().requires_grad_()
    optimizer = torch.optim.Adam(
        [{"params": [points]}, {"params": [log_edge, log_width], "lr": _LOG_RATE}], lr=_RATE
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=max(1, steps))
    best = [tensor.detach().clone() for tensor in (points, log_edge, log_width)]
    before = after = None
    for step in range(steps + 1):
        losses = _losses(points, log_edge, log_width, down, targets)
        now = losses.detach()
        before = now if before is None else before
        better = torch.ones_like(now, dtype=torch.bool) if after is None else now < after
        after = now if after is None else torch.where(better, now, after)
        for kept, tensor in zip(best, (points, log_edge, log_width), strict=True):
            kept[better] = tensor.detach()[better]
        if step < steps:
            optimizer.zero_grad()
            (losses.sum() + _EVEN * _unevenness(points, down)).backward()
            optimizer.step()
            schedule.step()
    softness = torch.cat((best[1].exp(), strokes[:, -1:, 2]), dim=1)
    softness[:, :-1] = torch.where(down > 0, softness[:, :-1], strokes[:, :-1, 2])
    return Refined(torch.cat((best[0], softness[..., None]), 2), best[2].exp(), before, after)


def _losses(
    points: Tensor, log_edge: Tensor, log_width: Tensor, down: Tensor, targets: Tensor
) -> Tensor:
    """(n,): each drawing's loss."""
    canvas = softraster.draw_segments(
        torch.cat((points[:, :-1], points[:, 1:]), dim=2),
        log_edge.exp(),
        targets.shape[-1],
        width=log_width.exp()[:, None],
        intensity=down,
        coverage="capsule",
        composite="max",
    )

    def loss(canvas: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(canvas[None], target[None]) + blurred_loss(canvas[None], target[None])

    return torch.vmap(loss)(canvas, targets)


def _unevenness(points: Tensor, down: Tensor) -> Tensor:
    """Sum over the drawings: mean squared difference in length of joined segments."""
    length = (points.diff(dim=1).square().sum(2) + 1e-8).sqrt()
    joined = down[:, 1:] * down[:, :-1]
    squares = joined * length.diff(dim=1).square()
    return (squares.sum(1) / joined.sum(1).clamp(min=1)).sum()
