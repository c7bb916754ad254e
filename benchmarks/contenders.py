"""Who draws in the benchmarks, what each draws, and the calls that are timed.

Whether they draw it right is left to validation.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import eager
import numpy as np
import others
import torch
from torch import Tensor
from workloads import Workload

import softraster

# A contender that takes more memory than this is reported, and not run.
MEMORY_LIMIT = 16e9


@dataclass(frozen=True)
class Contender:
    """A way to draw.

    Attributes:
        name: unique.
        function: takes what softraster.draw_segments does; None where it is not installed.
        planes: arrays of segments x pixels, or so much memory, that both passes hold at once: what
            memory.py measures on W1, rounded up.
        formula: what it draws; "" for softraster's, against which it is then validated.
        oracle: the same formula at single pixels, as eager.distance_field_at takes and gives it.
        gradients: inputs that it has gradients for; None for all.
        declines: why it cannot draw a workload, or None.
        graph: captured as a CUDA graph, and replayed.
    """

    name: str
    function: Callable[..., Tensor] | None
    planes: float = 0
    formula: str = ""
    oracle: Callable[[dict[str, np.ndarray], np.ndarray, int], np.ndarray] | None = None
    gradients: tuple[str, ...] | None = None
    declines: Callable[[Workload], str | None] = lambda workload: None
    graph: bool = False

    def needs(self, workload: Workload, bytes_each: int = 4) -> float:
        """Return roughly how many bytes both passes take besides inputs and outputs."""
        return float(self.planes * workload.pairs * bytes_each)

    def refusal(self, workload: Workload) -> str | None:
        """Return why it is not run on a workload, or None."""
        if self.function is None:
            return "not installed"
        reason = self.declines(workload)
        if reason is None and self.needs(workload) > MEMORY_LIMIT:
            reason = f"needs {self.needs(workload) / 1e9:,.0f} GB"
        return reason

    def wants(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return the inputs that it has gradients for, in their order."""
        return [x for name, x in inputs.items() if self.gradients is None or name in self.gradients]


REFERENCE = Contender("reference, eager", softraster.reference.draw_segments, planes=17)

_FIELD = "exp(-(d / sigma)^2), soft or"


def contenders(device: str) -> list[Contender]:
    """Return every way to draw; softraster first, which the ratios refer to."""
    torch._dynamo.reset()  # so that no shape is compiled as a special case of another one's
    compiled = torch.compile(softraster.reference.draw_segments, dynamic=False)
    window = torch.compile(eager.window_planes, dynamic=False)

    def compiled_window(segments: Tensor, softness: Tensor, size: tuple[int, int], **_) -> Tensor:
        return window(segments, softness, size)

    ours = [Contender("softraster", softraster.draw_segments)]
    if device == "cuda":
        ours.append(Contender("softraster, CUDA graph", softraster.draw_segments, graph=True))
    return [
        *ours,
        REFERENCE,
        Contender("reference, torch.compile", compiled, planes=13),
        Contender("one window, eager", eager.box_window, planes=5.2, declines=_grid_sum_only),
        Contender("one window, torch.compile", compiled_window, planes=4, declines=_grid_sum_only),
        Contender(
            "distance field, eager",
            eager.distance_field,
            planes=14,
            formula=_FIELD,
            oracle=eager.distance_field_at,
            declines=_plain_only,
        ),
        Contender(
            "neural line model",
            others.line_model,
            planes=67,
            formula="a network's lines",
            gradients=("segments",),
            declines=others.line_model_declines,
        ),
        Contender(
            "dsketch",
            others.installed(others.dsketch),
            planes=30,  # counted in its source, not measured
            formula=_FIELD,
            oracle=eager.distance_field_at,
            declines=_plain_only,
        ),
        Contender(
            "pydiffvg",
            others.installed(others.pydiffvg),
            formula="paths a pixel soft, over",
            gradients=("segments", "width", "color"),
        ),
        Contender(
            "easydiffvg",
            others.installed(others.easydiffvg),
            formula="Gaussian splats, soft or",
            gradients=("segments",),
            declines=others.easydiffvg_declines,
        ),
    ]


def _grid_sum_only(workload: Workload) -> str | None:
    if (workload.coverage, workload.composite) != ("grid", "sum"):
        return "draws coverage grid with composite sum only"
    return None


def _plain_only(workload: Workload) -> str | None:
    return None if workload.channels is None else "draws no colours"


def passes(
    contender: Contender, workload: Workload, device: str
) -> dict[str, Callable[[], list[Tensor]]]:
    """Return what is timed, by name: calls that return the canvas, and all gradients."""
    inputs, grad = workload.make(device)

    @torch.no_grad()
    def forward() -> list[Tensor]:
        return [workload.draw(contender.function, inputs)]

    def both() -> list[Tensor]:
        canvas = workload.draw(contender.function, inputs)
        return [canvas, *torch.autograd.grad(canvas, contender.wants(inputs), grad)]

    calls = {"forward": forward, "forward + backward": both}
    return {name: capture(call) for name, call in calls.items()} if contender.graph else calls


def capture(call: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """Return the replay of a CUDA graph of the call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay() -> list[Tensor]:
        graph.replay()
        return kept

    return replay
