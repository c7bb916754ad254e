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
    _add_evaluate(commands)
    _add_export(commands)
    _add_line_model(commands)
    _add_collect(commands)
    _add_experiments(commands)
    _add_ship(commands)
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
    lr = "Adam's step size (default: 5e-4, ensemble: 1e-3)"
    _option(parser, "--lr", float, None, "X", lr)
    model = "writer, one net for all digits, or ensemble, a small one for each"
    _option(parser, "--model", str, "writer", "NAME", model)
    units = "cells in each of the three LSTM layers (default: 512, ensemble: 64)"
    _option(parser, "--units", int, None, "N", units)
    _option(parser, "--dropout", float, 0.0, "P", "dropped share of what enters layers 2 and 3")
    _option(parser, "--renderer", str, "soft", "NAME", "soft, or line_model, the neural renderer")
    _option(parser, "--line-model", Path, None, "FILE", "checkpoint of the neural renderer")
    _option(parser, "--composite", str, "sum", "NAME", "sum or max of the segments")
    _option(parser, "--length-weight", float, 0.0, "X", "penalty on long segments; the post: 0.01")
    _option(parser, "--turning-weight", float, 0.0, "X", "penalty on sharp turns; the post: 0.01")
    _option(parser, "--blur", float, 0.0, "X", "weight of the loss of blurred images")
    samples = "also learn from collected strokes: a .npz, .json or .h5 file, or own, author"
    samples += " or pendigits"
    _option(parser, "--samples", Path, None, "FILE", samples)
    _option(parser, "--sample-lr", float, 5e-4, "X", "Adam's step size on samples")
    _option(parser, "--warm-up", int, 100, "N", "steps on samples alone at first")
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
    _option(source, "--shipped", str, None, "NAME", "trained weights of the package instead")
    net = "checkpoint of the neural renderer, to show what that makes of the strokes"
    _option(parser, "--line-model", Path, None, "FILE", net)
    out = (
        "the PNG; an .npz with the strokes goes beside it (default: figure.png in the run's "
        "folder, or here)"
    )
    _option(parser, "--out", Path, None, "FILE", out)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    _option(parser, "--count", int, 10, "N", "digits to draw, the classes in turn")
    _option(parser, "--seed", int, 0, "N", "which digits of a class are drawn")
    parser.set_defaults(handler=_figures, parser=parser)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    text = (
        "Measure how good drawings of the test digits are: where the ink is, how the pen moved, "
        "whether they can be read, and how much they are like people's."
    )
    parser = commands.add_parser("evaluate", help="measure drawings", description=text)
    source = parser.add_mutually_exclusive_group()
    _option(source, "--run", Path, Path("runs/writer"), "DIR", "folder of a run")
    _option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead of a run")
    _option(source, "--shipped", str, None, "NAME", "trained weights of the package instead")
    strokes = "drawings instead of a run: a .npz file as export writes it"
    _option(source, "--strokes", Path, None, "FILE", strokes)
    tracer = "the skeleton tracer, which learns nothing, instead of a run"
    source.add_argument("--tracer", action="store_true", help=tracer)
    source.add_argument("--people", action="store_true", help="pendigits' people instead of a run")
    templates = (
        "drawings that --tracer takes order and direction from: a .npz, .json or .h5 file, or the "
        "word author or pendigits"
    )
    _option(parser, "--templates", str, None, "FILE", templates)
    out = "JSON of the figures (default: evaluation.json beside the checkpoint, else none)"
    _option(parser, "--out", Path, None, "FILE", out)
    data = "folder of the MNIST and pendigits files (default: as for train, $SOFTRASTER_DATA)"
    _option(parser, "--data", Path, None, "DIR", data, dest="data_dir")
    _option(parser, "--limit", int, None, "N", "measure the first N digits only (default: all)")
    parser.set_defaults(handler=_evaluate, parser=parser)


def _add_export(commands: argparse._SubParsersAction) -> None:
    text = (
        "Write what a model draws as a .npz file: strokes (n, 20, 3) float32, x, y and 1 where the "
        "pen is lifted after this point, and label (n,)."
    )
    parser = commands.add_parser("export", help="write strokes to a file", description=text)
    source = parser.add_mutually_exclusive_group()
    _option(source, "--shipped", str, "rung9", "NAME", "trained weights of the package")
    _option(source, "--run", Path, None, "DIR", "folder of a run instead")
    _option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead")
    _option(parser, "--out", Path, None, "FILE", "the .npz file", required=True)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    _option(parser, "--split", str, "test", "NAME", "train, test, or all for both in turn")
    _option(parser, "--limit", int, None, "N", "draw the first N digits only (default: all)")
    parser.set_defaults(handler=_export, parser=parser)


def _add_line_model(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train the post's neural line model, a network that draws one line, on random lines. A "
        "folder that holds a run is resumed."
    )
    parser = commands.add_parser("line-model", help="train a net that draws", description=text)
    folder = "folder of the run, its checkpoint and TensorBoard log"
    _option(parser, "--out", Path, Path("runs/line_model"), "DIR", folder)
    _option(parser, "--images", int, 1_600_000, "N", "lines to train on")
    minutes = "stop after so many minutes of training, resumed ones included (default: no limit)"
    _option(parser, "--minutes", float, None, "M", minutes)
    _option(parser, "--batch-size", int, 64, "N", "lines in a step")
    _option(parser, "--lr", float, 1e-3, "X", "Adam's step size")
    _option(parser, "--seed", int, 0, "N", "of the first weights and of the lines")
    _option(parser, "--workers", int, 2, "N", "processes that draw lines ahead")
    device = "cpu, cuda, ... (default: cuda if there is a device, else cpu)"
    _option(parser, "--device", str, None, "NAME", device)
    parser.add_argument(
        "--overwrite", action="store_true", help="start over in a folder that holds a run"
    )
    parser.set_defaults(handler=_line_model, parser=parser)


def _add_collect(commands: argparse._SubParsersAction) -> None:
    text = (
        "Serve a page, to this machine only, on which digits are drawn with mouse or pen. What is "
        "saved goes to a file that `train --samples` takes."
    )
    parser = commands.add_parser("collect", help="draw samples by hand", description=text)
    out = "the .json file that drawings are added to"
    _option(parser, "--out", Path, Path("samples.json"), "FILE", out)
    _option(parser, "--port", int, 8728, "N", "of the page's address, 0 for any that is free")
    parser.set_defaults(handler=_collect, parser=parser)


def _add_experiments(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train and measure every model of the post, and write tables and figures. A folder that "
        "holds results is gone on with: what is done is not done again."
    )
    parser = commands.add_parser("experiments", help="repeat the post", description=text)
    scale = "quick, 25 minutes on two cores, or full, the post's"
    _option(parser, "--scale", str, "quick", "NAME", scale)
    _option(parser, "--rungs", str, None, "N", "rungs of the ladder (default: all)", nargs="+")
    out = "folder of the results (default: results, for the quick scale results/quick)"
    _option(parser, "--out", Path, None, "DIR", out)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    _option(parser, "--seeds", int, None, "N", "runs of each rung (default: the scale's)")
    minutes = "stop each run after so many minutes of training (default: the scale's)"
    _option(parser, "--minutes", float, None, "M", minutes)
    page = "a page whose tables are renewed, too, such as docs/experiments.md"
    _option(parser, "--page", Path, None, "FILE", page)
    device = "for training: cpu, cuda, ... (default: cuda if there is a device, else cpu)"
    _option(parser, "--device", str, None, "NAME", device)
    parser.set_defaults(handler=_experiments, parser=parser)


def _add_ship(commands: argparse._SubParsersAction) -> None:
    text = (
        "Make a file of trained weights for the package from a run: its weights in float16, what "
        "made them, and their figures."
    )
    parser = commands.add_parser("ship", help="put weights into the package", description=text)
    _option(parser, "--run", Path, None, "DIR", "folder of the run", required=True)
    _option(parser, "--name", str, None, "NAME", "of the weights: rung7 or rung9", required=True)
    made_by = "the command that trained them"
    _option(parser, "--made-by", str, None, "COMMAND", made_by, required=True)
    _option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    parser.set_defaults(handler=_ship, parser=parser)


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
    if options.shipped:
        checkpoint, out = _shipped(options), options.out or Path("figure.png")
    draw_figure(_config(FigureConfig, options, checkpoint=checkpoint, out=out))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from handwriting.evaluate import EvaluateConfig, evaluate
    from handwriting.train import CHECKPOINT_NAME

    checkpoint, out = options.checkpoint, options.out
    if options.shipped:
        checkpoint = _shipped(options)
    elif not (options.strokes or options.tracer or options.people):
        checkpoint = checkpoint or options.run / CHECKPOINT_NAME
        out = out or checkpoint.parent / "evaluation.json"
    evaluate(_config(EvaluateConfig, options, checkpoint=checkpoint, out=out))
    return 0


def _export(options: argparse.Namespace) -> int:
    from handwriting.export import ExportConfig, export
    from handwriting.train import CHECKPOINT_NAME

    checkpoint = options.checkpoint or (options.run and options.run / CHECKPOINT_NAME)
    checkpoint = checkpoint or _shipped(options)
    export(_config(ExportConfig, options, checkpoint=checkpoint))
    return 0


def _line_model(options: argparse.Namespace) -> int:
    from handwriting.train_lines import LineTrainConfig, train_line_model

    result = train_line_model(_config(LineTrainConfig, options))
    return 0 if result.signal is None else 128 + result.signal


def _collect(options: argparse.Namespace) -> int:
    from handwriting.collect import CollectConfig, collect

    collect(_config(CollectConfig, options))
    return 0


def _experiments(options: argparse.Namespace) -> int:
    from handwriting.experiments import ExperimentsConfig, run_experiments

    rungs = tuple(options.rungs) if options.rungs else None
    result = run_experiments(_config(ExperimentsConfig, options, rungs=rungs))
    return 0 if result.signal is None else 128 + result.signal


def _ship(options: argparse.Namespace) -> int:
    from handwriting.shipped import ShipConfig, ship

    ship(_config(ShipConfig, options))
    return 0


def _shipped(options: argparse.Namespace) -> Path:
    """The file of the weights that --shipped names; another name is a usage error."""
    from handwriting.shipped import shipped_path

    try:
        return shipped_path(options.shipped)
    except ValueError as error:
        options.parser.error(str(error))
