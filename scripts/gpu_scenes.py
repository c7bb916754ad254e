"""Draw a few small scenes of every mode on the GPU and hold them against the CPU op.

Short, because gpu_check.py runs it under compute-sanitizer, where a kernel is up to a hundred times
slower. Exits with an error where the two differ.
"""

import sys
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cases import MODES, Scene

# More than a tile in both directions; more segments on a canvas than a block has threads.
SHAPES = [((2, 40), (45, 70)), ((1, 300), (33, 20)), ((3, 1), (8, 8))]


def passes(mode: tuple, shape: tuple, size: tuple, dtype: torch.dtype, device: str) -> list[Tensor]:
    """Return canvas and gradients on the CPU. On the GPU no kernel runs but the op's."""
    scene = Scene(mode, shape, device, dtype, size)
    canvas = scene.draw(*scene.tensors, tolerance=1e-13)  # leaves nothing out that tells
    grad = torch.randn(canvas.shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    grads = torch.autograd.grad(canvas, scene.tensors, grad.to(device))
    return [x.detach().cpu() for x in (canvas, *grads)]


def main() -> None:
    """Run from the command line."""
    count = 0
    for mode, (shape, size), dtype in product(MODES, SHAPES, (torch.float32, torch.float64)):
        got, expected = (passes(mode, shape, size, dtype, device) for device in ("cuda", "cpu"))
        # In float32 the gradient may jump where two segments are nearly equal under max.
        kept = 1 if dtype == torch.float32 else len(expected)
        for x, want in zip(got[:kept], expected[:kept], strict=True):
            atol = (2e-5 if dtype == torch.float32 else 1e-9) * max(1.0, want.abs().max().item())
            torch.testing.assert_close(x, want, rtol=0, atol=atol)
        count += 1
    print(f"{count} scenes agree with the CPU")


if __name__ == "__main__":
    main()
