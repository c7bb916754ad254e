"""Command line of the package: options in, one config out, and errors as one line.

A module for each group of sub-commands. No work is done here. What a sub-command needs is imported
when it runs, so that --help is quick.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from handwriting.cli import collecting, dataset, drawings, experiments, tracing, training, writing

# Modules of sub-commands, in the order of --help. Each has an `add`, given the sub-parsers.
_GROUPS = (writing, tracing, training, drawings, dataset, collecting, experiments)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: those after the program's name; None takes the process's own.

    Returns:
        Exit status: 0; 1 when files, folders, memory or a device are at fault, with one line on
        stderr; 130 after Ctrl-C. Bad options leave by SystemExit with status 2.
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
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{parser.prog} {options.command}: error: {message}", file=sys.stderr)
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
    for group in _GROUPS:
        group.add(commands)
    return parser
