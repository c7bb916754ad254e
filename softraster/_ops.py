"""Loads the extension; tells torch how its operators differentiate, batch and look to compilers.

No formulas, and no checks of users' arguments: those are api.py's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softraster._arguments import COMPOSITES

try:
    from softraster import _C  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"softraster's compiled extension does not load ({error}). Build it against the installed"
        f" torch {torch.__version__}: run `pip install .` in softraster's source folder."
    ) from error

_forward = torch.ops.softraster.draw_segments.default
_backward = torch.ops.softraster.draw_segments_backward.default


@torch.library.register_fake("softraster::draw_segments")
def _forward_fake(
    segments: Tensor, softness: Tensor, intensity: Tensor, height: int, width: int, *options: Any
) -> Tensor:
    return segments.new_empty((*segments.shape[:-2], height, width))


@torch.library.register_fake("softraster::draw_segments_backward")
def _backward_fake(
    grad_canvas: Tensor, segments: Tensor, softness: Tensor, intensity: Tensor, *options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(x.new_empty(x.shape) for x in (segments, softness, intensity))


def _batched(op: Any) -> Any:
    """Return op's vmap rule: a batched call is one call with one more leading dimension."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        moved = []
        for arg, dim in zip(args, in_dims, strict=True):
            if isinstance(arg, Tensor):
                arg = (
                    arg.movedim(dim, 0)
                    if dim is not None
                    else arg[None].expand(info.batch_size, *arg.shape)
                )
            moved.append(arg)
        out = op(*moved)
        return out, (tuple(0 for _ in out) if isinstance(out, tuple) else 0)

    return rule


torch.library.register_vmap("softraster::draw_segments", _batched(_forward))
torch.library.register_vmap("softraster::draw_segments_backward", _batched(_backward))


class _Gradient(torch.autograd.Function):
    """The backward op, where somebody wants to differentiate it: that raises."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        return _backward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(
            "softraster.draw_segments has first derivatives only: this backward pass asks for the"
            " gradient of its gradient (create_graph=True, or nested torch.func transforms)"
        )


class _DrawSegments(torch.autograd.Function):
    """Eager mode and torch.compile: saving in forward costs a third of setup_context's time."""

    @staticmethod
    def forward(
        ctx: Any, segments: Tensor, softness: Tensor, intensity: Tensor, *options: Any
    ) -> Tensor:
        ctx.save_for_backward(segments, softness, intensity)
        ctx.options = options
        return _forward(segments, softness, intensity, *options)

    @staticmethod
    def backward(ctx: Any, grad_canvas: Tensor) -> tuple[Any, ...]:
        grads = _gradient(grad_canvas, *ctx.saved_tensors, *ctx.options)
        return (*grads, None, None, None, None)


class _DrawSegmentsFunctorch(torch.autograd.Function):
    """The same for torch.func transforms, which demand setup_context."""

    generate_vmap_rule = True

    @staticmethod
    def forward(segments: Tensor, softness: Tensor, intensity: Tensor, *options: Any) -> Tensor:
        return _forward(segments, softness, intensity, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        segments, softness, intensity, *ctx.options = inputs
        ctx.save_for_backward(segments, softness, intensity)

    @staticmethod
    def backward(ctx: Any, grad_canvas: Tensor) -> tuple[Any, ...]:
        grads = _gradient(grad_canvas, *ctx.saved_tensors, *ctx.options)
        return (*grads, None, None, None, None)


def _gradient(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Gradient.apply(*args)
    return _backward(*args)


def draw_segments(
    segments: Tensor,
    softness: Tensor,
    intensity: Tensor | None,
    height: int,
    width: int,
    composite: str,
    tolerance: float,
) -> Tensor:
    """Run the fused op, differentiably. Tensors of one dtype, float32 or float64, expanded."""
    if intensity is None:
        intensity = segments.new_empty(0)
    args = (segments, softness, intensity, height, width, COMPOSITES.index(composite), tolerance)
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return _DrawSegmentsFunctorch.apply(*args)
    if torch.is_grad_enabled() and (
        segments.requires_grad or softness.requires_grad or intensity.requires_grad
    ):
        return _DrawSegments.apply(*args)
    return _forward(*args)
