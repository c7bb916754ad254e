"""Loads the extension; tells torch how its operators differentiate, batch and look to compilers.

No formulas, and no checks of users' arguments: those are _arguments.py's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softraster._arguments import COMPOSITES, COVERAGES, Scene

try:
    from softraster import _C
except ImportError as error:
    raise ImportError(
        f"softraster's compiled extension does not load ({error}). Build it against the installed"
        f" torch {torch.__version__}: run `pip install .` in softraster's source folder."
    ) from error

CUDA_ARCHS: str = _C.CUDA_ARCHS  # "80;90" or the like; "" without CUDA kernels

_forward = torch.ops.softraster.draw_segments.default
_backward = torch.ops.softraster.draw_segments_backward.default
_TENSORS = 6  # segments, softness, width, intensity, color, background: each has a gradient


@torch.library.register_fake("softraster::draw_segments")
def _forward_fake(
    segments: Tensor,
    softness: Tensor,
    width: Tensor,
    intensity: Tensor,
    color: Tensor,
    background: Tensor,
    rows: int,
    columns: int,
    *options: Any,
) -> Tensor:
    channels = color.shape[-1:] if color.dim() == segments.dim() else ()
    return segments.new_empty((*segments.shape[:-2], *channels, rows, columns))


@torch.library.register_fake("softraster::draw_segments_backward")
def _backward_fake(grad_canvas: Tensor, *args: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in args[:_TENSORS])


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
    def forward(*args: Any) -> tuple[Tensor, ...]:
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
    def forward(ctx: Any, *args: Any) -> Tensor:
        ctx.save_for_backward(*args[:_TENSORS])
        ctx.options = args[_TENSORS:]
        return _forward(*args)

    @staticmethod
    def backward(ctx: Any, grad_canvas: Tensor) -> tuple[Any, ...]:
        grads = _gradient(grad_canvas, *ctx.saved_tensors, *ctx.options)
        return (*grads, *(None for _ in ctx.options))


class _DrawSegmentsFunctorch(torch.autograd.Function):
    """The same for torch.func transforms, which demand setup_context."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return _forward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:_TENSORS])
        ctx.options = inputs[_TENSORS:]

    @staticmethod
    def backward(ctx: Any, grad_canvas: Tensor) -> tuple[Any, ...]:
        grads = _gradient(grad_canvas, *ctx.saved_tensors, *ctx.options)
        return (*grads, *(None for _ in ctx.options))


def _gradient(*args: Any) -> tuple[Tensor, ...]:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _Gradient.apply(*args)
    return _backward(*args)


def draw_segments(scene: Scene) -> Tensor:
    """Run the fused op on a checked scene, differentiably."""
    compiling = torch.compiler.is_compiling()
    absent = scene.segments.new_empty(0)
    tensors = [
        # Dynamo refuses one tensor as two arguments; in eager mode a new one costs a microsecond.
        (scene.segments.new_empty(0) if compiling else absent) if x is None else x
        for x in scene[:_TENSORS]
    ]
    args = (
        *tensors,
        scene.rows,
        scene.columns,
        COVERAGES.index(scene.coverage),
        COMPOSITES.index(scene.composite),
        scene.tolerance,
    )
    if not compiling and torch._C._are_functorch_transforms_active():
        return _DrawSegmentsFunctorch.apply(*args)
    if torch.is_grad_enabled():
        for x in tensors:
            if x.requires_grad:  # most often the first one does
                return _DrawSegments.apply(*args)
    return _forward(*args)
