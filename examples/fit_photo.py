"""Fit coloured curves to a photograph by gradient descent.

    python examples/fit_photo.py --out runs/photo

Points, width, colour and opacity of every curve start at random, in colours taken from the photo,
and all follow the gradient of the squared error while the edges go from soft to crisp. Writes
fit.png, fit.svg and fit.gif, the progress, and prints the error at start and end. Needs
`pip install "softraster[examples]"`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import softraster

try:
    import numpy as np
    import skimage.data
    from PIL import Image
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(f'{error}; the remedy: pip install "softraster[examples]"') from None

PHOTOS = ("coffee", "chelsea", "astronaut", "rocket")  # in scikit-image itself, no download
SAMPLES = 6  # segments per curve
WIDEST = 0.15  # of the longer side
SOFT, CRISP = 1.0, 6.0  # softness per pixel, at the start and at the end
FRAMES = 40  # of the progress
# Price of transparency, next to the squared error. Where a curve's own segments overlap, the canvas
# has their ink twice and the SVG once: for opaque curves that is the same.
TRANSPARENCY = 0.002
# The learning rates of Adam; of all but `points`, in logits.
RATES = {"points": 0.003, "width": 0.04, "color": 0.04, "intensity": 0.04, "background": 0.04}


@dataclass
class Curves:
    """N curves as what Adam may set to any number: logits of all that has bounds, and points.

    Attributes:
        points: (N, 4, 2), control points of cubic Bezier curves.
        width: (N,), logits of the width as part of WIDEST.
        color: (N, 3), logits.
        intensity: (N,), logits.
        background: (3,), logits.
    """

    points: Tensor
    width: Tensor
    color: Tensor
    intensity: Tensor
    background: Tensor

    def draw(self, size: tuple[int, int], softness: float) -> Tensor:
        """Return the canvas, (3, height, width); softness is per pixel."""
        return softraster.draw_curves(
            self.points,
            softness * max(size),
            size,
            samples=SAMPLES,
            width=WIDEST * self.width.sigmoid(),
            color=self.color.sigmoid(),
            intensity=self.intensity.sigmoid(),
            background=self.background.sigmoid(),
            coverage="capsule",
            composite="over",
        )

    def drawing(self, size: tuple[int, int]) -> softraster.Drawing:
        """Return the curves as they are written to SVG."""
        return softraster.Drawing.of(
            self.points.detach(),
            size,
            width=WIDEST * self.width.detach().sigmoid(),
            color=self.color.detach().sigmoid(),
            intensity=self.intensity.detach().sigmoid(),
            background=tuple(self.background.detach().sigmoid().tolist()),
        )


def load_photo(name: str, width: int) -> Tensor:
    """Return a photo as (3, height, width), 0 to 1: one of PHOTOS, or else an image file."""
    photo = Image.fromarray(getattr(skimage.data, name)()) if name in PHOTOS else Image.open(name)
    height = max(1, round(width * photo.height / photo.width))
    photo = photo.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255


def start(photo: Tensor, count: int) -> Curves:
    """Scatter curves, the wide ones first and so undermost, in the photo's colours.

    More of them start where the photo has detail, that is where it differs from its blur.
    """
    height, width = photo.shape[1:]
    side = max(height, width)
    blur = torch.nn.functional.avg_pool2d(photo, 9, 1, 4, count_include_pad=False)
    detail = (photo - blur).abs().mean(0).flatten()
    pixel = torch.multinomial(detail + detail.mean(), count, replacement=True)
    middle = torch.stack([pixel % width + 0.5, pixel // width + 0.5], dim=-1) / side
    across = torch.logspace(math.log10(0.1), math.log10(0.008), count)
    walk = 1.2 * across[:, None, None] * torch.randn(count, 4, 2)
    color = blur.flatten(1)[:, pixel].T
    curves = Curves(
        middle[:, None] + walk,
        (across / WIDEST).logit(),
        color.logit(0.02),
        torch.full((count,), 0.7).logit(),
        photo.flatten(1).mean(1).logit(0.02),
    )
    for name in RATES:
        getattr(curves, name).requires_grad_()
    return curves


def fit(photo: Tensor, curves: Curves, steps: int) -> tuple[list[float], list[Image.Image]]:
    """Move the curves towards the photo; return the squared error of each step, and the frames."""
    size = (photo.shape[1], photo.shape[2])
    optimizer = torch.optim.Adam(
        [{"params": [getattr(curves, name)], "lr": rate} for name, rate in RATES.items()],
        betas=(0.9, 0.99),
    )
    # Down to a tenth along a cosine.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.55 + 0.45 * math.cos(math.pi * min(step / steps, 1))
    )
    losses, frames = [], []
    with tqdm(range(steps), desc="fit", unit=" steps") as bar:
        for step in bar:
            canvas = curves.draw(size, SOFT * (CRISP / SOFT) ** (step / max(1, steps - 1)))
            loss = (canvas - photo).square().mean()
            optimizer.zero_grad()
            (loss + TRANSPARENCY * (1 - curves.intensity.sigmoid()).mean()).backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if step * FRAMES // steps > (step - 1) * FRAMES // steps:
                frames.append(to_image(canvas))
                bar.set_postfix_str(describe(losses[-1]))
    return losses, frames


def to_image(canvas: Tensor) -> Image.Image:
    """Return (3, height, width), 0 to 1, as an image of 8 bits."""
    pixels = (255 * canvas.detach().clamp(0, 1)).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def describe(loss: float) -> str:
    """Return a squared error in words."""
    return f"mse {loss:.5f}, PSNR {-10 * math.log10(loss):.1f} dB"


def save_progress(path: Path, frames: list[Image.Image]) -> None:
    """Write an animation that stays on its last frame for two seconds."""
    small = [frame.quantize(128, dither=Image.Dither.NONE) for frame in frames]
    times = [80] * (len(small) - 1) + [2000]
    small[0].save(path, save_all=True, append_images=small[1:], duration=times, loop=0)


def main(arguments: Sequence[str] | None = None) -> tuple[float, float]:
    """Run with these arguments, or the command line's; return the squared error before, after."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photo", default=PHOTOS[0], help=f"{', '.join(PHOTOS)}, or a file")
    parser.add_argument("--curves", type=int, default=500, help="how many (default %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="width, pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/photo"), help="folder to write to")
    options = parser.parse_args(arguments)

    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    photo = load_photo(options.photo, options.size)
    size = (photo.shape[1], photo.shape[2])
    curves = start(photo, options.curves)
    began = time.perf_counter()
    losses, frames = fit(photo, curves, options.steps)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        canvas = curves.draw(size, CRISP)
    after = (canvas - photo).square().mean().item()

    to_image(canvas).save(options.out / "fit.png")
    softraster.write_svg(options.out / "fit.svg", curves.drawing(size))
    save_progress(options.out / "fit.gif", [*frames, to_image(canvas)])
    print(f"start: {describe(losses[0])}")
    print(f"end:   {describe(after)}, {options.steps} steps in {seconds:.0f} s")
    print(f"wrote fit.png, fit.svg and fit.gif into {options.out}")
    return losses[0], after


if __name__ == "__main__":
    main()
