"""One scene for two: torch's operators on the CPU, and the emulated CUDA kernels."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from cases import COMPOSITES, COVERAGES, Case
from torch import Tensor

from softraster._arguments import check_scene

TENSORS = ("segments", "softness", "width", "intensity", "color", "background")


class Passes(NamedTuple):
    """What forward and backward return, the gradients by argument."""

    canvas: Tensor
    grads: dict[str, Tensor]

    def same_bits(self, other: Passes) -> bool:
        """Return whether every number is the same, NaN's bits too."""
        return _bits(self) == _bits(other)


def _bits(passes: Passes) -> list[bytes]:
    return [x.numpy().tobytes() for x in (passes.canvas, *passes.grads.values())]


class Operators:
    """Both operators on one scene, with a fixed random gradient of the canvas."""

    def __init__(self, case: Case, coverage: str, composite: str, tolerance: float):
        names = ("width", "intensity", "color", "background")
        scene = check_scene(
            case.segments,
            case.softness,
            case.size,
            **{name: getattr(case, name) for name in names},
            coverage=coverage,
            composite=composite,
            tolerance=tolerance,
        )
        self.tensors = [getattr(scene, name) for name in TENSORS]
        modes = (COVERAGES.index(coverage), COMPOSITES.index(composite))
        self.options = (*case.size, *modes, tolerance)
        channels = () if scene.color is None else scene.color.shape[-1:]
        shape = (*scene.segments.shape[:-2], *channels, *case.size)
        make = torch.Generator().manual_seed(7)
        # Numbers that every dtype holds: then scenes of several dtypes have the same ones.
        grad_canvas = torch.randn(shape, dtype=torch.float32, generator=make)
        self.grad_canvas = grad_canvas.to(scene.segments.dtype)

    def on_cpu(self) -> Passes:
        """Run torch's operators."""
        absent = self.tensors[0].new_empty(0)
        tensors = [absent if x is None else x for x in self.tensors]
        ops = torch.ops.softraster
        canvas = ops.draw_segments(*tensors, *self.options)
        grads = ops.draw_segments_backward(self.grad_canvas, *tensors, *self.options)
        given = zip(TENSORS, self.tensors, grads, strict=True)
        return Passes(canvas, {name: grad for name, x, grad in given if x is not None})

    @property
    def calls(self) -> list[tuple[str, tuple[Any, ...]]]:
        """The emulator's functions for forward and backward, and their arguments."""
        arrays = tuple(None if x is None else x.contiguous().numpy() for x in self.tensors)
        return [
            ("draw_segments", (*arrays, *self.options)),
            ("draw_segments_backward", (self.grad_canvas.numpy(), *arrays, *self.options)),
        ]

    def emulated(self, emulator: ModuleType) -> Passes:
        """Run the CUDA kernels."""
        return passes_of([getattr(emulator, name)(*given) for name, given in self.calls])


def passes_of(results: Sequence[Any]) -> Passes:
    """Return what the calls of an Operators returned, as tensors."""
    canvas, grads = results
    given = zip(TENSORS, grads, strict=True)
    return Passes(
        torch.from_numpy(canvas),
        {name: torch.from_numpy(grad) for name, grad in given if grad is not None},
    )


def assert_agree(got: Passes, expected: Passes, canvas: float, relative: float, absolute: float):
    """Compare numbers and NaN.

    Args:
        got: in any dtype, as expected.
        expected: what got is compared with.
        canvas: how far numbers of the canvas may differ, relative to its largest or to 1.
        relative: how far numbers of a gradient may differ, relative to its largest.
        absolute: what is added to that.
    """
    assert got.grads.keys() == expected.grads.keys()
    pairs = {"canvas": (got.canvas, expected.canvas)}
    pairs |= {name: (got.grads[name], want) for name, want in expected.grads.items()}
    for name, (have, want) in pairs.items():
        largest = want[want.isfinite()].abs().max().item() if want.isfinite().any() else 0.0
        is_canvas = name == "canvas"
        torch.testing.assert_close(
            have.double(),
            want.double(),
            rtol=0,
            atol=canvas * max(1, largest) if is_canvas else relative * largest + absolute,
            equal_nan=True,
            msg=lambda message, name=name: f"{name}: {message}",
        )
