"""Draws the pictures of the README and of docs/math.md: python docs/pictures.py [FOLDER]."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import softraster


def star(rays: int = 9) -> torch.Tensor:
    """Return (rays, 4) segments from near the centre outwards, the unit square's units."""
    angle = torch.arange(rays) * (2 * math.pi / rays) + 0.3
    ray = torch.stack([angle.cos(), angle.sin()], -1)
    return torch.cat([0.5 + 0.08 * ray, 0.5 + 0.4 * ray], -1)


def draw_softness(path: Path, side: int = 48) -> None:
    """The same segments from faint to crisp."""
    figure = Figure(figsize=(8, 2.3), layout="constrained")
    panels = figure.subplots(1, 4)
    for axes, per_pixel in zip(panels, (0.5, 1.5, 4, 12), strict=True):
        canvas = softraster.draw_segments(star(), per_pixel * side, side)
        axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"softness = {per_pixel:g} · side", fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def draw_modes(path: Path, side: int = 96) -> None:
    """What the coverages and composites make of nine segments, wide and coloured."""
    turn = torch.linspace(0, 1, 9)[:, None]
    color = 0.5 + 0.5 * torch.cos(2 * math.pi * (turn + torch.tensor([0.0, 1 / 3, 2 / 3])))
    capsules = {"coverage": "capsule", "width": 0.09}
    panels = {
        "grid": {},
        "capsule, width 0.02 to 0.16": {"coverage": "capsule", "width": 0.02 + 0.14 * turn[:, 0]},
        "capsule, max": {**capsules, "color": color, "composite": "max"},
        "capsule, over": {**capsules, "color": color, "composite": "over", "background": 1.0},
    }
    segments = star()
    segments[:, :2] = 1 - segments[:, 2:]  # right through the middle, so that they cross
    figure = Figure(figsize=(8, 2.3), layout="constrained")
    for axes, (name, options) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        canvas = softraster.draw_segments(segments, 6.0 * side, side, **options).clamp(0, 1)
        if canvas.dim() == 3:
            axes.imshow(canvas.movedim(0, -1))
        else:
            axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Write every picture into the folder given, else docs/images."""
    named = sys.argv[1:]
    folder = Path(named[0]) if named else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    draw_softness(folder / "softness.png")
    draw_modes(folder / "modes.png")


if __name__ == "__main__":
    main()
