"""Sub-command collect: a page to draw samples on."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import config, option


def add(commands: argparse._SubParsersAction) -> None:
    """Add collect."""
    _add_collect(commands)


def _add_collect(commands: argparse._SubParsersAction) -> None:
    text = (
        "Serve a page, to this machine only, on which digits are drawn with mouse or pen. What is "
        "saved goes to a file that `train --samples` takes."
    )
    parser = commands.add_parser("collect", help="draw samples by hand", description=text)
    out = "the .json file that drawings are added to"
    option(parser, "--out", Path, Path("samples.json"), "FILE", out)
    option(parser, "--port", int, 8728, "N", "of the page's address, 0 for any that is free")
    parser.set_defaults(handler=_collect, parser=parser)


def _collect(options: argparse.Namespace) -> int:
    from handwriting.collect import CollectConfig, collect

    collect(config(CollectConfig, options))
    return 0
