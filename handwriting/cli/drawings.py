"""Sub-commands on what a model draws: figures and evaluate."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import DATA, config, option, shipped


def add(commands: argparse._SubParsersAction) -> None:
    """Add figures and evaluate."""
    _add_figures(commands)
    _add_evaluate(commands)


def _add_figures(commands: argparse._SubParsersAction) -> None:
    text = (
        "Draw test digits in three rows: the thinned digit; the segments, coloured from violet to "
        "yellow in the order of writing, thin and grey where the pen is up; the reconstruction."
    )
    parser = commands.add_parser("figures", help="draw what a writer writes", description=text)
    source = parser.add_mutually_exclusive_group()
    option(source, "--run", Path, Path("runs/writer"), "DIR", "folder of a run")
    option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead of a run")
    option(source, "--shipped", str, None, "NAME", "trained weights of the package instead")
    net = "checkpoint of the neural renderer, to show what that makes of the strokes"
    option(parser, "--line-model", Path, None, "FILE", net)
    out = (
        "the PNG; an .npz with the strokes goes beside it (default: figure.png in the run's "
        "folder, or here)"
    )
    option(parser, "--out", Path, None, "FILE", out)
    option(parser, "--data", Path, None, "DIR", DATA, dest="data_dir")
    option(parser, "--count", int, 10, "N", "digits to draw, the classes in turn")
    option(parser, "--seed", int, 0, "N", "which digits of a class are drawn")
    parser.set_defaults(handler=_figures, parser=parser)


def _figures(options: argparse.Namespace) -> int:
    from handwriting.checkpoint import CHECKPOINT_NAME
    from handwriting.figures import FigureConfig, draw_figure

    checkpoint = options.checkpoint or options.run / CHECKPOINT_NAME
    out = options.out or checkpoint.parent / "figure.png"
    if options.shipped:
        checkpoint, out = shipped(options), options.out or Path("figure.png")
    draw_figure(config(FigureConfig, options, checkpoint=checkpoint, out=out))
    return 0


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    text = (
        "Measure how good drawings of the test digits are: where the ink is, how the pen moved, "
        "whether they can be read, and how much they are like people's."
    )
    parser = commands.add_parser("evaluate", help="measure drawings", description=text)
    source = parser.add_mutually_exclusive_group()
    option(source, "--run", Path, Path("runs/writer"), "DIR", "folder of a run")
    option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead of a run")
    option(source, "--shipped", str, None, "NAME", "trained weights of the package instead")
    strokes = "drawings instead of a run: a .npz file as export --split test writes it"
    option(source, "--strokes", Path, None, "FILE", strokes)
    tracer = "the skeleton tracer, which learns nothing, instead of a run"
    source.add_argument("--tracer", action="store_true", help=tracer)
    source.add_argument("--people", action="store_true", help="pendigits' people instead of a run")
    templates = (
        "drawings that --tracer takes order and direction from: a .npz, .json or .h5 file, or the "
        "word author or pendigits"
    )
    option(parser, "--templates", str, None, "FILE", templates)
    out = "JSON of the figures (default: evaluation.json beside the checkpoint, else none)"
    option(parser, "--out", Path, None, "FILE", out)
    data = "folder of the MNIST and pendigits files (default: as for train, $SOFTRASTER_DATA)"
    option(parser, "--data", Path, None, "DIR", data, dest="data_dir")
    option(parser, "--limit", int, None, "N", "measure the first N digits only (default: all)")
    parser.set_defaults(handler=_evaluate, parser=parser)


def _evaluate(options: argparse.Namespace) -> int:
    from handwriting.checkpoint import CHECKPOINT_NAME
    from handwriting.evaluate import EvaluateConfig, evaluate

    checkpoint, out = options.checkpoint, options.out
    if options.shipped:
        checkpoint = shipped(options)
    elif not (options.strokes or options.tracer or options.people):
        checkpoint = checkpoint or options.run / CHECKPOINT_NAME
        out = out or checkpoint.parent / "evaluation.json"
    evaluate(config(EvaluateConfig, options, checkpoint=checkpoint, out=out))
    return 0
