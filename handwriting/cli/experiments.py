"""Sub-commands for what is published: experiments, and ship, which packs trained weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import DATA, config, option


def add(commands: argparse._SubParsersAction) -> None:
    """Add experiments and ship."""
    _add_experiments(commands)
    _add_ship(commands)


def _add_experiments(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train and measure every model of the post, and write tables and figures. A folder that "
        "holds results is gone on with: what is done is not done again. Under torchrun all "
        "processes train each model together, and the others wait while the first one measures."
    )
    parser = commands.add_parser("experiments", help="repeat the post", description=text)
    scale = "quick, 25 minutes on two cores, or full, the post's"
    option(parser, "--scale", str, "quick", "NAME", scale)
    rungs = "rungs of the ladder, or trials (default: all rungs)"
    option(parser, "--rungs", str, None, "N", rungs, nargs="+")
    trials = "the trials on the way to rung 9, too, or without --rungs they alone"
    parser.add_argument("--trials", action="store_true", help=trials)
    out = "folder of the results (default: results, for the quick scale results/quick)"
    option(parser, "--out", Path, None, "DIR", out)
    option(parser, "--data", Path, None, "DIR", DATA, dest="data_dir")
    option(parser, "--seeds", int, None, "N", "runs of each rung (default: the scale's)")
    minutes = "stop each run after so many minutes of training (default: the scale's)"
    option(parser, "--minutes", float, None, "M", minutes)
    page = "a page whose tables are renewed, too, such as docs/experiments.md"
    option(parser, "--page", Path, None, "FILE", page)
    device = "for training: cpu, cuda, ... (default: cuda if there is a device, else cpu)"
    option(parser, "--device", str, None, "NAME", device)
    parser.set_defaults(handler=_experiments, parser=parser)


def _experiments(options: argparse.Namespace) -> int:
    from handwriting.experiments import ExperimentsConfig, run_experiments

    rungs = tuple(options.rungs) if options.rungs else None
    result = run_experiments(config(ExperimentsConfig, options, rungs=rungs))
    return 0 if result.signal is None else 128 + result.signal


def _add_ship(commands: argparse._SubParsersAction) -> None:
    text = (
        "Make a file of trained weights for the package from a run: its weights in float16, what "
        "made them, and their figures."
    )
    parser = commands.add_parser("ship", help="put weights into the package", description=text)
    option(parser, "--run", Path, None, "DIR", "folder of the run", required=True)
    option(parser, "--name", str, None, "NAME", "of the weights: rung7 or rung9", required=True)
    made_by = "the command that trained them"
    option(parser, "--made-by", str, None, "COMMAND", made_by, required=True)
    option(parser, "--data", Path, None, "DIR", DATA, dest="data_dir")
    parser.set_defaults(handler=_ship, parser=parser)


def _ship(options: argparse.Namespace) -> int:
    from handwriting.shipped import ShipConfig, ship

    ship(config(ShipConfig, options))
    return 0
