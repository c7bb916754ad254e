"""Command line of the package: options in, one config out, and errors as one line.

No work is done here. What a sub-command needs is imported when it runs, so that --help is quick.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

_DATA = "folder of the MNIST files (default: $SOFTRASTER_DATA, else they are downloaded)"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: those after the program's name; None takes the process's own.

    Returns:
        Exit status: 0; 1 when data, checkpoints or folders are at fault, with one line on stderr;
        130 after Ctrl-C. Bad options leave by SystemExit with status 2.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    usual_format = warnings.formatwarning
    warnings.formatwarning = _one_line_warning
    try:
        return options.handler(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{parser.prog} {options.command}: {message}", file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = usual_format


def _one_line_warning(message: Warning | str, *_where: object) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def build_parser() -> argparse.ArgumentParser:
    """Parser of all sub-commands; the options' defaults are those of the configs."""
    parser = _Parser(
        prog="python -m handwriting",
        description="Teach a network to write digits with a pen, by what the drawing looks like.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_figures(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train a writer on thinned MNIST digits. A folder that holds a run is resumed: the same "
        "command goes on after Ctrl-C or a crash."
    )
    parser = commands.add_parser("train", help="train a writer", description=text)
    folder = "folder of the run, its checkpoint and TensorBoard log"
    _option(parser, "--out", Path, Path("runs/writer"), "DIR", folder)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    _option(parser, "--epochs", int, 5, "N", "passes over the digits")
    minutes = "stop after so many minutes of training, resumed ones included (default: no limit)"
    _option(parser, "--minutes", float, None, "M", minutes)
    _option(parser, "--batch-size", int, 64, "N", "digits in a step")
    _option(parser, "--lr", float, 5e-4, "X", "Adam's step size")
    _option(parser, "--units", int, 512, "N", "cells in each of the three LSTM layers")
    _option(parser, "--limit", int, None, "N", "train on the first N digits only (default: all)")
    _option(parser, "--seed", int, 0, "N", "of the first weights and of the order of the digits")
    device = "cpu, cuda, ... (default: cuda if there is a device, else cpu)"
    _option(parser, "--device", str, None, "NAME", device)
    parser.add_argument(
        "--overwrite", action="store_true", help="start over in a folder that holds a run"
    )
    parser.set_defaults(handler=_train, parser=parser)


def _add_figures(commands: argparse._SubParsersAction) -> None:
    text = (
        "Draw test digits in three rows: the thinned digit; the segments, coloured from violet to "
        "yellow in the order of writing, thin and grey where the pen is up; the reconstruction."
    )
    parser = commands.add_parser("figures", help="draw what a writer writes", description=text)
    source = parser.add_mutually_exclusive_group()
    _option(source, "--run", Path, Path("runs/writer"), "DIR", "folder of a run")
    _option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead of a run")
    out = (
        "the PNG; an .npz with the strokes goes beside it (default: figure.png in the run's folder)"
    )
    _option(parser, "--out", Path, None, "FILE", out)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    _option(parser, "--count", int, 10, "N", "digits to draw, the classes in turn")
    _option(parser, "--seed", int, 0, "N", "which digits of a class are drawn")
    parser.set_defaults(handler=_figures, parser=parser)


def _option(
    parser: argparse._ActionsContainer,
    flag: str,
    kind: Callable[[str], Any],
    default: Any,
    metavar: str,
    text: str,
    **more: Any,
) -> None:
    """Add an option; its help says its default unless that is None."""
    if default is not None:
        text += " (default: %(default)s)"
    parser.add_argument(flag, type=kind, default=default, metavar=metavar, help=text, **more)


def _config(kind: type, options: argparse.Namespace, **more: object):
    """Make a config of the options that it has fields for; its complaints are usage errors."""
    given = {name: value for name, value in vars(options).items() if name in kind.__annotations__}
    try:
        return kind(**{**given, **more})
    except ValueError as error:
        options.parser.error(str(error))


def _train(options: argparse.Namespace) -> int:
    from handwriting.train import TrainConfig, train

    result = train(_config(TrainConfig, options))
    return 0 if result.signal is None else 128 + result.signal


def _figures(options: argparse.Namespace) -> int:
    from handwriting.figures import FigureConfig, draw_figure
    from handwriting.train import CHECKPOINT_NAME

    checkpoint = options.checkpoint or options.run / CHECKPOINT_NAME
    out = options.out or checkpoint.parent / "figure.png"
    draw_figure(_config(FigureConfig, options, checkpoint=checkpoint, out=out))
    return 0
