"""What a call of draw_segments() may give: a documented error, or what the reference gives.

The calls are fuzz_calls.py's to make, and how near to the reference is fuzz_bounds.py's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fuzz_bounds import Bounds
from fuzz_calls import Call
from torch import Tensor

import softraster
from softraster._arguments import Scene, check_scene

Draw = Callable[..., Tensor]
OPTIONAL = ("width", "intensity", "color", "background")


class Mismatch(AssertionError):
    """A call gave what it must not give."""


def check(call: Call, draw: Draw = softraster.draw_segments, cuda: bool = False) -> str:
    """Make a call and compare.

    Args:
        call: the call.
        draw: what is called, in place of draw_segments().
        cuda: whether that runs the CUDA kernels, emulated or not.

    Returns:
        What came of it: "TypeError" or "ValueError", where that was due; "no pixel" for an empty
        batch; "NaN" where a canvas is to be NaN, and "drawn".

    Raises:
        Mismatch: with what is wrong.
        Exception: what the call raised and is not due.
    """
    if call.wrong:
        return _refused(call, draw)
    given = dict(call.arguments)
    leaves = {name: given[name].detach().requires_grad_() for name in call.leaves}
    canvas = draw(**{**given, **leaves})
    wide = {n: x.double() if isinstance(x, Tensor) else x for n, x in given.items()}
    wide_leaves = {name: wide[name].detach().requires_grad_() for name in call.leaves}
    wide |= wide_leaves
    expected = softraster.reference.draw_segments(**wide)
    if canvas.shape != expected.shape or canvas.dtype != given["segments"].dtype:
        raise Mismatch(f"a canvas of {canvas.shape}, {canvas.dtype} for {expected.shape}")
    if canvas.requires_grad != bool(leaves):
        raise Mismatch(f"requires_grad of the canvas is {canvas.requires_grad}")
    make = torch.Generator().manual_seed(call.seed)
    grad_canvas = torch.randn(canvas.shape, generator=make)
    with torch.no_grad():
        bounds = Bounds(scene_of(wide), grad_canvas.double(), canvas.dtype, cuda)
        _compare_canvas(canvas.detach().double(), expected.detach(), bounds)
    if leaves:
        grads = _gradients(canvas, leaves, grad_canvas)
        expected_grads = _gradients(expected, wide_leaves, grad_canvas)
        with torch.no_grad():
            _compare_gradients(grads, expected_grads, bounds)
    if "segments" in leaves and not bounds.valid.all() and not cuda:
        _compare_in_nan(given, leaves, grads["segments"], grad_canvas, bounds, draw)
    if not canvas.numel():
        return "no pixel"
    return "drawn" if bounds.valid.all() else "NaN"


def _refused(call: Call, draw: Draw) -> str:
    try:
        draw(**call.arguments)
    except (TypeError, ValueError) as error:
        said = str(error)
        if not said.startswith(call.wrong) or "\n" in said:
            raise Mismatch(f"{call.wrong} is wrong, and the error is: {said}") from error
        return type(error).__name__
    raise Mismatch(f"{call.wrong} is wrong, and was accepted")


def _gradients(canvas: Tensor, leaves: dict[str, Tensor], grad: Tensor) -> dict[str, Tensor]:
    tensors = list(leaves.values())
    if not canvas.requires_grad:  # the reference's, of no segments
        return {name: torch.zeros_like(x) for name, x in leaves.items()}
    found = torch.autograd.grad(canvas, tensors, grad.to(canvas.dtype), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def scene_of(arguments: dict[str, Any]) -> Scene:
    rest = {name: arguments.get(name) for name in OPTIONAL}
    return check_scene(
        arguments["segments"],
        arguments["softness"],
        arguments["size"],
        **rest,
        coverage=arguments.get("coverage", "grid"),
        composite=arguments.get("composite", "sum"),
        tolerance=arguments.get("tolerance", 1e-6),
    )


def _compare_canvas(got: Tensor, expected: Tensor, bounds: Bounds) -> None:
    """Items of the batch that are NaN are so throughout; tame ones are near the reference."""
    if bounds.scene.color is None:
        got, expected = got.unsqueeze(-3), expected.unsqueeze(-3)
    if not got[~bounds.valid].isnan().all():
        raise Mismatch("numbers on a canvas that is to be NaN")
    off = ((got - expected).abs() - bounds.canvas)[bounds.tame]
    if not (off <= 0).all():
        raise Mismatch(f"the canvas is wrong by {off.max().item():g} more than it may be")


def _compare_gradients(got: dict[str, Tensor], expected: dict[str, Tensor], bounds: Bounds) -> None:
    """What only tame items feed is near the reference; a segment that is not finite gets NaN."""
    for name, want in expected.items():
        have, (limit, tame) = got[name], bounds.gradient(name, want.shape)
        if have.shape != want.shape or have.dtype != bounds.dtype:
            raise Mismatch(f"a gradient to {name} of {have.shape}, {have.dtype}")
        if not have[tame].isfinite().all():
            raise Mismatch(f"the gradient to {name} is not finite")
        off = ((have.double() - want).abs() - limit)[tame & limit.isfinite()]
        if not (off <= 0).all():
            worst = off.nan_to_num(torch.inf).max().item()
            raise Mismatch(f"the gradient to {name} is wrong by {worst:g} more than it may be")
    if "segments" in got:
        broken = bounds.broken.unsqueeze(-1).expand(bounds.scene.segments.shape)
        broken = broken.double().sum_to_size(got["segments"].shape) > 0
        if not got["segments"][broken].isnan().all():
            raise Mismatch("a segment that is not finite has a finite gradient")


def _compare_in_nan(
    given: dict[str, Any],
    leaves: dict[str, Tensor],
    got: Tensor,
    grad_canvas: Tensor,
    bounds: Bounds,
    draw: Draw,
) -> None:
    """In a canvas of NaN segments learn as under "sum", or nothing under "over"."""
    if got.shape[:-2] != bounds.valid.shape or bounds.scene.composite == "sum":
        return  # gradients that are sums over canvases, or nothing to compare with
    got = got[~bounds.valid]
    if bounds.scene.composite == "over":
        if not got.isnan().all():
            raise Mismatch("a gradient from a canvas of NaN under over")
        return
    # With colors, for without them there is other code under sum, which may round otherwise.
    summed = {**given, **leaves, "composite": "sum", "background": None}
    if given.get("color") is None:
        summed["color"] = torch.ones((*bounds.valid.shape, got.shape[-2], 1), dtype=got.dtype)
        grad_canvas = grad_canvas.unsqueeze(-3)
    expected = _gradients(draw(**summed), leaves, grad_canvas)["segments"][~bounds.valid]
    if not ((got == expected) | (got.isnan() & expected.isnan())).all():
        raise Mismatch("in a canvas of NaN segments do not learn as under sum")
