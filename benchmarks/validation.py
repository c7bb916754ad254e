"""Whether contenders draw what they say, before anyone times them.

Who draws softraster's formula is held against the reference in float64, canvas and gradients. A
distance field is another formula, so it is held against itself in NumPy at some pixels, and its
gradients against differences of that. The rest is judged by shape and finite gradients alone.
"""

from __future__ import annotations

import numpy as np
import torch
from contenders import MEMORY_LIMIT, REFERENCE, Contender, passes
from torch import Tensor
from workloads import Workload

import softraster

ORACLE_PIXELS = 64  # of a canvas
ORACLE_ITEMS = 8  # canvases of a batch, the first
DIRECTIONS = 4  # of a step of the inputs, for each of them


def exact_passes(workload: Workload, device: str) -> tuple[list[Tensor], str]:
    """Return canvas and gradients in float64, and whose they are.

    Those of the reference where they fit into memory. Else those of the fused op on the CPU, which
    the tests hold against the reference.
    """
    fits = REFERENCE.needs(workload, bytes_each=8) <= MEMORY_LIMIT
    function = REFERENCE.function if fits else softraster.draw_segments
    inputs, grad = workload.make(device if fits else "cpu")
    inputs = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    canvas = workload.draw(function, inputs)
    grads = torch.autograd.grad(canvas, list(inputs.values()), grad.double())
    return [canvas.detach(), *grads], "reference, float64" if fits else "softraster, CPU, float64"


def validate(
    contender: Contender, workload: Workload, device: str, exact: list[Tensor], judge: str
) -> str:
    """Raise AssertionError unless a contender draws right; return what it was held against."""
    if contender.oracle is not None:
        _validate_by_oracle(contender, workload, device)
        return "its own formula, NumPy, float64"
    canvas, *grads = passes(contender, workload, device)["forward + backward"]()
    if contender.formula:
        _validate_finite(canvas, grads)  # autograd has compared the shapes
        return "nothing but shape and finite gradients"
    # The reference in float32 is off by 5e-5 on 512 x 512 pixels; softraster by less than 1e-6.
    torch.testing.assert_close(canvas.detach().to(exact[0]), exact[0], rtol=1e-4, atol=1e-4)
    for got, want in zip(grads, exact[1:], strict=True):
        atol = 1e-3 * want.abs().max().item()
        torch.testing.assert_close(got.to(want), want, rtol=0, atol=atol)
    return judge


def _validate_finite(canvas: Tensor, grads: list[Tensor]) -> None:
    assert canvas.isfinite().all(), "canvas is not finite"
    for grad in grads:
        assert grad.isfinite().all() and grad.any(), "a gradient is not finite, or 0 everywhere"


def _validate_by_oracle(contender: Contender, workload: Workload, device: str) -> None:
    inputs, grad = workload.make(device)
    canvas = workload.draw(contender.function, inputs)
    arrays = {name: x.detach().cpu().double().numpy()[:ORACLE_ITEMS] for name, x in inputs.items()}
    random = np.random.default_rng(0)
    pixels = _inked_pixels(arrays["segments"], workload, random)
    item = torch.arange(len(pixels), device=device)[:, None]
    at = (item, *torch.from_numpy(pixels).to(device).unbind(-1))

    def oracle(**changed: np.ndarray) -> np.ndarray:
        return contender.oracle({**arrays, **changed}, pixels, workload.side)

    drawn = oracle()
    np.testing.assert_allclose(canvas.detach()[at].cpu().double().numpy(), drawn, atol=1e-3)
    # The same loss on both sides: those pixels, weighted at random.
    weights = random.standard_normal(drawn.shape)
    grad = torch.zeros_like(grad).index_put_(at, torch.from_numpy(weights).to(grad), True)
    grads = torch.autograd.grad(canvas, list(inputs.values()), grad)
    for (name, array), got in zip(arrays.items(), grads, strict=True):
        got = got.cpu().double().numpy()[:ORACLE_ITEMS]
        step = 1e-5 * (array.mean() if name == "softness" else 1 / workload.side)
        for _ in range(DIRECTIONS):
            way = random.standard_normal(array.shape)
            more, less = (oracle(**{name: array + s * step * way}) for s in (1, -1))
            want = ((more - less) * weights).sum() / (2 * step)
            error = abs((got * way).sum() - want)
            assert error <= 2e-3 * np.linalg.norm(got), f"gradient of {name} is off by {error:.3g}"


def _inked_pixels(
    segments: np.ndarray, workload: Workload, random: np.random.Generator
) -> np.ndarray:
    """(B, ORACLE_PIXELS, 2) rows and columns close to segments; a pixel may come twice."""
    which = random.integers(segments.shape[1], size=(len(segments), ORACLE_PIXELS, 1))
    chosen = np.take_along_axis(segments, which, axis=1)
    along = random.random((*which.shape[:2], 1))
    point = chosen[..., :2] + along * (chosen[..., 2:] - chosen[..., :2])
    point = np.floor(point[..., ::-1] * workload.side + random.standard_normal(point.shape))
    return np.clip(point, 0, [workload.rows - 1, workload.columns - 1]).astype(np.int64)
