"""What sub-commands share: how an option is added, and how options become a config."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = "folder of the MNIST files (default: $SOFTRASTER_DATA, else they are downloaded)"


def option(
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


def config(kind: type, options: argparse.Namespace, **more: object):
    """Make a config of the options that it has fields for; its complaints are usage errors."""
    given = {name: value for name, value in vars(options).items() if name in kind.__annotations__}
    try:
        return kind(**{**given, **more})
    except ValueError as error:
        options.parser.error(str(error))


def shipped(options: argparse.Namespace) -> Path:
    """The file of the weights that --shipped names; another name is a usage error."""
    from handwriting.shipped import shipped_path

    try:
        return shipped_path(options.shipped)
    except ValueError as error:
        options.parser.error(str(error))
