"""Sub-command trace: digits of a photograph as strokes."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import config, option


def add(commands: argparse._SubParsersAction) -> None:
    """Add trace."""
    text = (
        "Trace the digit, or the row of digits, in a photograph: find the ink, read it, draw it "
        "with the trained model, move the strokes to where the ink is, and write them as an SVG in "
        "the photograph's size."
    )
    parser = commands.add_parser("trace", help="a photograph's digits as strokes", description=text)
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="the picture")
    option(parser, "--out", Path, None, "FILE", "the SVG", required=True)
    label = "the digits from left to right, such as 314 (default: they are read)"
    option(parser, "--label", str, None, "DIGITS", label)
    png = "also draw the strokes over the photograph, in a .png beside the SVG"
    parser.add_argument("--png", action="store_true", help=png)
    json = "also write the strokes as numbers, in a .json beside the SVG"
    parser.add_argument("--json", action="store_true", help=json)
    option(parser, "--shipped", str, "rung9", "NAME", "trained weights that draw")
    option(parser, "--steps", int, 100, "N", "of refinement, 0 for none")
    parser.set_defaults(handler=_trace, parser=parser)


def _trace(options: argparse.Namespace) -> int:
    from handwriting.tracing import TraceConfig, trace_photo

    trace_photo(config(TraceConfig, options))
    return 0
