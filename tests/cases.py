"""Scenes that the tests share: named ones, each for a trap, and random ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

import softraster

COVERAGES = ("grid", "capsule")
COMPOSITES = ("sum", "max", "softor", "over")

# A mode of each coverage, composite and number of channels, all three in turn.
MODES = [
    ("grid", "sum", None),
    ("grid", "max", 3),
    ("grid", "softor", 1),
    ("grid", "over", None),
    ("capsule", "sum", 4),
    ("capsule", "max", None),
    ("capsule", "softor", None),
    ("capsule", "over", 3),
]


@dataclass(frozen=True)
class Case:
    """Tensors for draw_segments in float64, and whether the gradient is unique there."""

    segments: Tensor
    softness: Tensor
    size: tuple[int, int]
    intensity: Tensor | None = None
    width: Tensor | None = None
    color: Tensor | None = None
    background: Tensor | None = None
    smooth: bool = True  # False at a kink, where op and reference may take different sides

    def to(self, target: torch.dtype | torch.device | str) -> Case:
        tensors = {n: x.to(target) for n, x in self.tensors.items()}
        return replace(self, **tensors)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is given, by the name of its argument."""
        names = ("segments", "softness", "intensity", "width", "color", "background")
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    def dressed(self, coverage: str, composite: str, channels: int | None, seed: int = 0) -> Case:
        """Return the case with random widths, colours and background where they go."""
        make = torch.Generator().manual_seed(seed)
        shape = self.segments.shape[:-1]

        def uniform(*size: int) -> Tensor:
            return torch.rand(size, dtype=torch.float64, generator=make)

        return replace(
            self,
            width=3.5 / max(self.size) * uniform(*shape) if coverage == "capsule" else None,
            color=None if channels is None else uniform(*shape, channels),
            background=uniform(*shape[:-1], *([] if channels is None else [channels]))
            if composite == "over"
            else None,
        )


def random_case(
    seed: int,
    shape: tuple[int, ...] = (2, 6),
    size: tuple[int, int] = (20, 28),
    intensity: bool = True,
) -> Case:
    """Segments with ends on and around the canvas, from faint to crisp."""
    make = torch.Generator().manual_seed(seed)
    per_pixel = torch.empty(shape, dtype=torch.float64).uniform_(0.05, 9, generator=make)
    return Case(
        torch.rand(*shape, 4, dtype=torch.float64, generator=make) * 1.4 - 0.2,
        per_pixel * max(size),
        size,
        0.1 + 0.9 * torch.rand(shape, dtype=torch.float64, generator=make) if intensity else None,
    )


def _case(*segments: list[float], softness: float = 6 * 28, **options) -> Case:
    rows = torch.tensor(segments, dtype=torch.float64).reshape(-1, 4)
    options.setdefault("size", (28, 28))
    return Case(rows, torch.full(rows.shape[:1], softness, dtype=torch.float64), **options)


NAMED = {
    "slanted": _case([0.13, 0.21, 0.81, 0.47]),
    "steep": _case([0.33, 0.91, 0.47, 0.11]),
    "horizontal": _case([0.11, 0.43, 0.83, 0.43]),
    "vertical": _case([0.37, 0.87, 0.37, 0.09]),
    "45 degrees": _case([0.2, 0.3, 0.7, 0.8], smooth=False),
    "nearly 45 degrees": _case([0.2, 0.3, 0.7, 0.7999]),
    "dot": _case([0.41, 0.63, 0.41, 0.63]),
    "dot at a pixel corner": _case([0.25, 0.75, 0.25, 0.75], size=(32, 32)),
    "dot off canvas": _case([1.03, -0.02, 1.03, -0.02]),
    "shorter than a dot": _case([0.41, 0.63, 0.41 + 1e-9, 0.63 - 1e-9]),
    "a thousandth of a pixel": _case([0.41, 0.63, 0.41 + 3e-5, 0.63 - 2e-5]),
    "off canvas": _case([1.2, 1.3, 1.5, 1.4], [-0.5, 0.2, -0.1, 0.9]),
    "through the canvas": _case([-3.1, -2.2, 4.3, 3.7], [0.51, -40, 0.49, 40]),
    "coincident": _case([0.2, 0.3, 0.7, 0.5], [0.2, 0.3, 0.7, 0.5], [0.7, 0.5, 0.2, 0.3]),
    "zero softness": _case([0.2, 0.3, 0.7, 0.5], softness=0.0),
    "tiny softness": _case([0.2, 0.3, 0.7, 0.5], softness=1e-3),
    "lifted pen": _case([0.2, 0.3, 0.7, 0.5], [0.1, 0.8, 0.9, 0.7], softness=20.0),
    "hard": _case([0.2, 0.313, 0.7, 0.517], softness=60 * 28),
    # From 9.5 and 77.8 per pixel on, pixels of steep lines in float32 and float64 have exponentials
    # of their own.
    **{
        f"{softness} per pixel": _case([0.31, 0.1, 0.42, 0.8], softness=softness * 28)
        for softness in (9.5, 9.6, 12, 77, 78)
    },
    "1x1 canvas": _case([0.2, 0.3, 0.7, 0.5], softness=4.0, size=(1, 1)),
    "one row": _case([0.1, 0.01, 0.9, 0.02], softness=240.0, size=(1, 40)),
    "one column": _case([0.01, 0.1, 0.02, 0.9], softness=240.0, size=(40, 1)),
    "narrower than a vector": _case([0.05, 0.1, 0.09, 0.9], softness=180.0, size=(30, 5)),
    "wide": _case([0.05, 0.02, 0.9, 0.11], [0.5, -0.1, 0.6, 0.3], softness=300.0, size=(9, 61)),
    "absent": _case(
        [0.2, 0.3, 0.7, 0.5],
        [0.1, 0.8, 0.9, 0.7],
        intensity=torch.tensor([0.0, 0.5], dtype=torch.float64),
    ),
    "nothing to draw": _case(),
    "empty batch": Case(
        torch.zeros(0, 3, 4, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.float64), (8, 8)
    ),
}


class Scene:
    """All the tensors that a mode takes, in a fixed order, and how to draw them."""

    def __init__(
        self, mode, shape=(2, 5), device="cpu", dtype=torch.float32, size=(12, 16), seed=0
    ):
        self.coverage, self.composite, channels = mode
        case = random_case(seed, shape=shape, size=size)
        case = case.dressed(self.coverage, self.composite, channels).to(dtype).to(device)
        self.size, self.names = size, list(case.tensors)
        self.tensors = [x.clone().requires_grad_() for x in case.tensors.values()]

    def draw(self, *tensors, **options):
        given = dict(zip(self.names, tensors, strict=True))
        mode = {"coverage": self.coverage, "composite": self.composite, **options}
        return softraster.draw_segments(
            given.pop("segments"), given.pop("softness"), self.size, **given, **mode
        )

    def loss(self, *tensors):
        return self.draw(*tensors).square().sum()

    def passes(self, *tensors):
        """Canvas, and the gradient of loss to each of the tensors, by default the scene's."""
        tensors = tensors or self.tensors
        canvas = self.draw(*tensors)
        return canvas, *torch.autograd.grad(canvas.square().sum(), tensors)
