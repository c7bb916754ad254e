"""Sub-commands on writing numbers: write, train-pen, legibility and ship-pen."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import config, option

_DATA = "folder of the MNIST and pendigits files (default: as for train, $SOFTRASTER_DATA)"


def add(commands: argparse._SubParsersAction) -> None:
    """Add write, train-pen, legibility and ship-pen."""
    _add_write(commands)
    _add_train_pen(commands)
    _add_legibility(commands)
    _add_ship_pen(commands)


def _add_write(commands: argparse._SubParsersAction) -> None:
    text = (
        "Write a number by hand: digits, space and . , : + -. Needs neither data nor training. "
        "A text that begins with - goes behind --."
    )
    parser = commands.add_parser("write", help="write a number", description=text)
    parser.add_argument("text", metavar="TEXT", help='such as "31415 926"')
    option(parser, "--out", Path, Path("number.svg"), "FILE", "the SVG file")
    parser.add_argument("--png", action="store_true", help="also a PNG, beside the SVG")
    parser.add_argument("--gif", action="store_true", help="also a GIF of it being written")
    method = "network, or collage: digits of a hand side by side"
    option(parser, "--method", str, "network", "NAME", method)
    style = "the hand to write in, from 0 on (default: the method's own choice)"
    option(parser, "--style", int, None, "N", style)
    option(parser, "--neatness", float, 0.4, "B", "0 varies as people do, more is neater")
    option(parser, "--seed", int, 0, "S", "another gives another writing")
    option(parser, "--height", int, 96, "PX", "of a digit, in pixels")
    parser.set_defaults(handler=_write, parser=parser)


def _write(options: argparse.Namespace) -> int:
    from handwriting.paper import WriteConfig, write_files

    write_files(config(WriteConfig, options))
    return 0


def _add_train_pen(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train the network that writes numbers, on strings laid out from exported digits. A folder "
        "that holds a run is resumed."
    )
    parser = commands.add_parser("train-pen", help="train a pen", description=text)
    strokes = "training digits that `export` wrote, .npz or .h5"
    option(parser, "--strokes", Path, None, "FILE", strokes, required=True)
    folder = "folder of the run, its checkpoint and TensorBoard log"
    option(parser, "--out", Path, Path("runs/pen"), "DIR", folder)
    option(parser, "--steps", int, 4200, "N", "steps of training")
    minutes = "stop after so many minutes of training, resumed ones included (default: no limit)"
    option(parser, "--minutes", float, None, "M", minutes)
    option(parser, "--characters", int, 128, "N", "characters in a step, about")
    option(parser, "--longest", int, 12, "N", "characters in a string at most")
    option(parser, "--units", int, 192, "N", "cells in each of the two LSTM layers")
    option(parser, "--lr", float, 2e-3, "X", "Adam's largest step size; it falls to 0")
    option(parser, "--seed", int, 0, "N", "of the first weights and of the strings")
    device = "cpu, cuda, ... (default: cuda if there is a device, else cpu)"
    option(parser, "--device", str, None, "NAME", device)
    overwrite = "start over in a folder that holds a run"
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    parser.set_defaults(handler=_train_pen, parser=parser)


def _train_pen(options: argparse.Namespace) -> int:
    from handwriting.train_pen import PenTrainConfig, train_pen

    result = train_pen(config(PenTrainConfig, options))
    return 0 if result.signal is None else 128 + result.signal


def _add_legibility(commands: argparse._SubParsersAction) -> None:
    text = (
        "Write random strings, cut them into digits, and measure how many the fixed reader reads "
        "right, and how much they are like people's."
    )
    parser = commands.add_parser("legibility", help="measure what is written", description=text)
    option(parser, "--method", str, "network", "NAME", "network or collage")
    checkpoint = "a pen (default: the one of the package)"
    option(parser, "--checkpoint", Path, None, "FILE", checkpoint)
    strokes = "strings laid out from exported digits instead, as the network learns from"
    option(parser, "--strokes", Path, None, "FILE", strokes)
    option(parser, "--count", int, 1000, "N", "strings of 1 to 12 digits")
    option(parser, "--style", int, None, "N", "as for write")
    option(parser, "--neatness", float, 0.4, "B", "as for write")
    option(parser, "--seed", int, 0, "N", "of the strings and of how they are written")
    option(parser, "--out", Path, None, "FILE", "JSON of the figures (default: none)")
    option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    parser.set_defaults(handler=_legibility, parser=parser)


def _legibility(options: argparse.Namespace) -> int:
    from handwriting.legibility import LegibilityConfig, measure_legibility

    measure_legibility(config(LegibilityConfig, options))
    return 0


def _add_ship_pen(commands: argparse._SubParsersAction) -> None:
    text = "Make the pen's weights for the package from a run, and measure them."
    parser = commands.add_parser("ship-pen", help="put a pen into the package", description=text)
    option(parser, "--run", Path, None, "DIR", "folder of the run", required=True)
    strokes = "the digits that it learned from, to measure strings laid out from them, too"
    option(parser, "--strokes", Path, None, "FILE", strokes)
    made_by = "the command that trained it"
    option(parser, "--made-by", str, None, "COMMAND", made_by, required=True)
    option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    parser.set_defaults(handler=_ship_pen, parser=parser)


def _ship_pen(options: argparse.Namespace) -> int:
    from handwriting.ship_pen import ShipPenConfig, ship_pen

    ship_pen(config(ShipPenConfig, options))
    return 0
