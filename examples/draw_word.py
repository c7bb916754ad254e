"""Draw a word in Bezier strokes, write it as SVG, read that back and draw it again.

    python examples/draw_word.py --word soft --out runs/word

The strokes of a few letters are written down below. Writes word.png and word.svg and prints how far
the second drawing, from the SVG, is from the first: no farther than the SVG's rounding. Needs
`pip install "softraster[examples]"`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

import softraster

try:
    from PIL import Image
    from svgelements import SVG  # noqa: F401 - what read_svg will ask for
except ImportError as error:
    raise SystemExit(f'{error}; the remedy: pip install "softraster[examples]"') from None

# Of each letter its advance and its strokes, in units of the x-height, y down from the base line.
# A stroke is its start, then pieces: one more point is a line, three are a cubic curve.
LETTERS = {
    "e": (
        0.92,
        [
            "0.04 -0.52, 0.88 -0.52, 0.88 -0.82 0.7 -1 0.46 -1, 0.2 -1 0.04 -0.78 0.04 -0.5,"
            "0.04 -0.2 0.22 0 0.5 0, 0.66 0 0.78 -0.07 0.86 -0.18"
        ],
    ),
    "f": (
        0.56,
        [
            "0.62 -1.48, 0.57 -1.55 0.5 -1.58 0.43 -1.58, 0.28 -1.58 0.22 -1.48 0.22 -1.3, 0.22 0",
            "0 -1, 0.52 -1",
        ],
    ),
    "n": (
        0.86,
        [
            "0.08 -1, 0.08 0",
            "0.08 -0.6, 0.12 -0.85 0.28 -1 0.46 -1, 0.68 -1 0.78 -0.85 0.78 -0.6, 0.78 0",
        ],
    ),
    "o": (
        1.0,
        [
            "0.5 -1, 0.224 -1 0 -0.776 0 -0.5, 0 -0.224 0.224 0 0.5 0,"
            "0.776 0 1 -0.224 1 -0.5, 1 -0.776 0.776 -1 0.5 -1"
        ],
    ),
    "p": (
        0.92,
        [
            "0.08 -1, 0.08 0.5",
            "0.08 -0.65, 0.12 -0.88 0.3 -1 0.48 -1, 0.76 -1 0.92 -0.78 0.92 -0.5,"
            "0.92 -0.22 0.76 0 0.48 0, 0.3 0 0.12 -0.12 0.08 -0.35",
        ],
    ),
    "s": (
        0.72,
        [
            "0.66 -0.82, 0.6 -0.94 0.5 -1 0.37 -1, 0.2 -1 0.08 -0.9 0.08 -0.75,"
            "0.08 -0.42 0.7 -0.6 0.7 -0.26, 0.7 -0.1 0.56 0 0.38 0, 0.22 0 0.1 -0.06 0.04 -0.2"
        ],
    ),
    "t": (
        0.6,
        [
            "0.22 -1.4, 0.22 -0.28, 0.22 -0.09 0.3 0 0.43 0, 0.5 0 0.55 -0.02 0.6 -0.05",
            "0 -1, 0.55 -1",
        ],
    ),
}
GAP = 0.3  # between letters, in x-heights, as all lengths here
MARGIN = 0.4
ASCENT, DESCENT = 1.58, 0.5
PEN = 0.14  # width of the ink
CRISP = 6  # softness per pixel


def stroke(text: str) -> Tensor:
    """Return a stroke of LETTERS as cubic curves, (N, 4, 2)."""
    pieces = [
        torch.tensor([float(x) for x in piece.split()]).view(-1, 2) for piece in text.split(",")
    ]
    curves = [
        softraster.to_cubic(torch.cat([before[-1:], piece])) for before, piece in pairwise(pieces)
    ]
    return torch.stack(curves)


def write(word: str, height: int) -> softraster.Drawing:
    """Return the word in black on white, on a canvas of that height in pixels."""
    curves, x = [], MARGIN
    for letter in word:
        advance, strokes = LETTERS[letter]
        corner = torch.tensor([x, MARGIN + ASCENT])
        curves += [stroke(text) + corner for text in strokes]
        x += advance + GAP
    per_pixel = (2 * MARGIN + ASCENT + DESCENT) / height
    size = (height, round((x - GAP + MARGIN) / per_pixel))
    unit = per_pixel * max(size)
    return softraster.Drawing.of(torch.cat(curves) / unit, size, width=PEN / unit)


def draw(drawing: softraster.Drawing) -> Tensor:
    """Return the ink, (height, width), 0 to 1: one channel, whatever the colours are."""
    return softraster.draw_curves(
        drawing.curves,
        CRISP * max(drawing.size),
        drawing.size,
        width=drawing.width,
        intensity=drawing.intensity,
        coverage="capsule",
        composite="max",
    )


def main(arguments: Sequence[str] | None = None) -> float:
    """Run with these arguments, or the command line's; return the largest difference of a pixel."""
    letters = "".join(LETTERS)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--word", default="soft", help=f"of the letters {letters}")
    parser.add_argument("--height", type=int, default=160, help="pixels (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/word"), help="folder to write to")
    options = parser.parse_args(arguments)
    if not options.word or set(options.word) - set(letters):
        parser.error(f"--word must be made of the letters {letters}, got {options.word!r}")

    options.out.mkdir(parents=True, exist_ok=True)
    drawing = write(options.word, options.height)
    canvas = draw(drawing)
    Image.fromarray((255 * (1 - canvas)).round().byte().numpy()).save(options.out / "word.png")
    softraster.write_svg(options.out / "word.svg", drawing)

    again = softraster.read_svg(options.out / "word.svg")
    difference = (draw(again) - canvas).abs().max().item()
    print(f"wrote word.png and word.svg into {options.out}: {len(drawing.curves)} curves")
    print(f"read back: {len(again.curves)} curves, no pixel differs by more than {difference:.5f}")
    return difference


if __name__ == "__main__":
    main()
