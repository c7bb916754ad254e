"""What the benchmarks draw: named sets of segments, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import softraster

SOFTNESS_PER_PIXEL = 6.0
SEGMENTS_PER_CURVE = 15


@dataclass(frozen=True)
class Workload:
    """Segments with uniformly random ends; or short, or cut from curves, where it says so."""

    batch: int
    count: int  # segments of a canvas
    rows: int
    columns: int
    length: float | None = None  # of each segment, in units
    curves: bool = False  # cubic, each step between its points at most 0.05 along an axis
    channels: int | None = None
    coverage: str = "grid"
    composite: str = "sum"

    @property
    def side(self) -> int:
        """The longer side, in pixels."""
        return max(self.rows, self.columns)

    @property
    def pairs(self) -> int:
        """Segments times pixels."""
        return self.batch * self.count * self.rows * self.columns

    def make(self, device: str) -> tuple[dict[str, Tensor], Tensor]:
        """Return inputs by argument, which require gradients, and the gradient of the canvas."""
        random = torch.Generator().manual_seed(0)
        rand = partial(torch.rand, generator=random)
        reach = torch.tensor([self.columns, self.rows]) / self.side
        shape = self.batch, self.count
        if self.curves:
            curves = self.count // SEGMENTS_PER_CURVE
            steps = 0.1 * rand(self.batch, curves, 4, 2) - 0.05
            steps[:, :, 0] = rand(self.batch, curves, 2) * reach
            control = steps.cumsum(-2)
            segments = softraster.cubic_bezier(control, samples=SEGMENTS_PER_CURVE).flatten(1, 2)
        elif self.length is None:
            segments = rand(*shape, 4) * reach.repeat(2)
        else:
            first, angle = rand(*shape, 2) * reach, 2 * torch.pi * rand(shape)
            away = self.length * torch.stack([angle.cos(), angle.sin()], -1)
            segments = torch.cat([first, first + away], -1)
        inputs = {
            "segments": segments,
            "softness": torch.full(shape, SOFTNESS_PER_PIXEL * self.side),
        }
        if self.coverage == "capsule":
            inputs["width"] = (1 + 5 * rand(shape)) / self.side
        if self.channels is not None:
            inputs["color"] = rand(*shape, self.channels)
        channels = () if self.channels is None else (self.channels,)
        grad = torch.randn(self.batch, *channels, self.rows, self.columns, generator=random)
        inputs = {name: x.to(device).requires_grad_() for name, x in inputs.items()}
        return inputs, grad.to(device)

    def draw(self, function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Tensor:
        """Draw the inputs with one of the functions that draw."""
        rest = dict(inputs)
        segments, softness = rest.pop("segments"), rest.pop("softness")
        mode = {"coverage": self.coverage, "composite": self.composite}
        return function(segments, softness, (self.rows, self.columns), **rest, **mode)


WORKLOADS = {
    "W1": Workload(64, 19, 28, 28),
    "W2": Workload(512, 19, 28, 28),
    "W3": Workload(1, 1_000, 256, 256, length=0.05),
    "W4": Workload(1, 10_000, 1024, 1024, length=0.02),
    "W5": Workload(8, 100, 512, 512, length=0.2),
    "W6": Workload(1, 9_600, 384, 384, curves=True),
    "W7": Workload(
        1, 30_720, 1344, 2040, curves=True, channels=3, coverage="capsule", composite="over"
    ),
    "W8": Workload(4096, 19, 28, 28),
    "call": Workload(1, 1, 8, 8),
}
