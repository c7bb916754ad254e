"""Draws the pictures of docs/pen.md: python docs/pen_pictures.py [FOLDER]."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from handwriting.layout import Writing
from handwriting.paper import draw_paper, to_gif, to_png
from handwriting.synthesis import compose, styles

_HEIGHT = 44  # of a digit, px
_COLUMNS = 2
_WIDTH = 540  # of a column, px


def draw_sheet(path: Path, writings: Sequence[Writing]) -> None:
    """Put writings beside and below each other into a PNG file."""
    images = [
        Image.open(io.BytesIO(to_png(draw_paper(writing.strokes, _HEIGHT)))) for writing in writings
    ]
    tall = max(image.height for image in images)
    rows = -(-len(images) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * _WIDTH, rows * tall), 255)
    for number, image in enumerate(images):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(image, (column * _WIDTH, row * tall))
    sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(path, optimize=True)


def draw_pictures(folder: Path) -> None:
    """Write every picture into a folder."""
    pi = compose("31415 926", seed=7)
    (folder / "pen-pi.gif").write_bytes(to_gif(draw_paper(pi.strokes, _HEIGHT)))
    texts = ("0123456789", "31415 926", "-40.5", "12:45", "1,024 + 768", "+49 30 1234")
    draw_sheet(folder / "pen-network.png", [compose(text, seed=7) for text in texts])
    chosen = np.linspace(0, styles() - 1, 8).round().astype(int).tolist()
    for method in ("network", "collage"):
        writings = [compose("2026-11-07", method=method, style=n, seed=n) for n in chosen]
        draw_sheet(folder / f"pen-styles-{method}.png", writings)
    neat = [
        compose("33688", neatness=b, seed=seed) for b in (0.0, 0.5, 1.0, 3.0) for seed in (1, 2)
    ]
    draw_sheet(folder / "pen-neatness.png", neat)
    twice = [
        compose("55552222", method=method, style=5, seed=seed)
        for seed in (1, 2)
        for method in ("network", "collage")
    ]
    draw_sheet(folder / "pen-repeats.png", twice)


def main() -> None:
    """Write every picture into the folder given, else docs/images."""
    named = sys.argv[1:]
    folder = Path(named[0]) if named else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    draw_pictures(folder)


if __name__ == "__main__":
    main()
