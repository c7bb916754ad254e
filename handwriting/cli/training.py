"""Sub-commands train and line-model."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import DATA, config, option

_FOLDER = "folder of the run, its checkpoint and TensorBoard log"
_MINUTES = "stop after so many minutes of training, resumed ones included (default: no limit)"
_DEVICE = "cpu, cuda, ... (default: cuda if there is a device, else cpu)"
_OVERWRITE = "start over in a folder that holds a run"


def add(commands: argparse._SubParsersAction) -> None:
    """Add train and line-model."""
    _add_train(commands)
    _add_line_model(commands)


def _add_train(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train a writer on thinned MNIST digits. A folder that holds a run is resumed: the same "
        "command goes on after Ctrl-C or a crash. Processes that torchrun starts share each step."
    )
    parser = commands.add_parser("train", help="train a writer", description=text)
    option(parser, "--out", Path, Path("runs/writer"), "DIR", _FOLDER)
    option(parser, "--data", Path, None, "DIR", DATA, dest="data_dir")
    emnist = "train and test on a set of EMNIST from that folder: digits, mnist, balanced, bymerge "
    emnist += "or byclass"
    option(parser, "--emnist", str, None, "NAME", emnist)
    images = "train on the digits of this IDX file, of any size, in place of those"
    option(parser, "--images", Path, None, "FILE", images)
    option(parser, "--labels", Path, None, "FILE", "IDX file of their labels")
    option(parser, "--epochs", int, 5, "N", "passes over the digits")
    option(parser, "--minutes", float, None, "M", _MINUTES)
    option(parser, "--batch-size", int, 64, "N", "digits in a step, of all processes together")
    accumulate = "parts that a process cuts its digits of a step into, to need the memory of one"
    option(parser, "--accumulate", int, 1, "N", accumulate)
    precision = "float32, or bfloat16 for the nets' matrix products"
    option(parser, "--precision", str, "float32", "NAME", precision)
    lr = "Adam's step size (default: 5e-4, ensemble: 1e-3)"
    option(parser, "--lr", float, None, "X", lr)
    schedule = "constant, or cosine: step sizes fall to 0 by the end of the last epoch"
    option(parser, "--lr-schedule", str, "constant", "NAME", schedule)
    model = "writer, one net for all digits, or ensemble, a small one for each"
    option(parser, "--model", str, "writer", "NAME", model)
    units = "cells in each of the three LSTM layers (default: 512, ensemble: 64)"
    option(parser, "--units", int, None, "N", units)
    option(parser, "--dropout", float, 0.0, "P", "dropped share of what enters layers 2 and 3")
    option(parser, "--renderer", str, "soft", "NAME", "soft, or line_model, the neural renderer")
    option(parser, "--line-model", Path, None, "FILE", "checkpoint of the neural renderer")
    option(parser, "--composite", str, "sum", "NAME", "sum or max of the segments")
    option(parser, "--length-weight", float, 0.0, "X", "penalty on long segments; the post: 0.01")
    option(parser, "--turning-weight", float, 0.0, "X", "penalty on sharp turns; the post: 0.01")
    option(parser, "--blur", float, 0.0, "X", "weight of the loss of blurred images")
    samples = "also learn from collected strokes: a .npz, .json or .h5 file, or own, author"
    samples += " or pendigits"
    option(parser, "--samples", Path, None, "FILE", samples)
    option(parser, "--sample-lr", float, 5e-4, "X", "Adam's step size on samples")
    scale = "distance over which a sample hardly pulls (default: none, the squared error)"
    option(parser, "--sample-scale", float, None, "PX", scale)
    option(parser, "--warm-up", int, 100, "N", "steps on samples alone at first")
    option(parser, "--limit", int, None, "N", "train on the first N digits only (default: all)")
    option(parser, "--seed", int, 0, "N", "of the first weights and of the order of the digits")
    option(parser, "--device", str, None, "NAME", _DEVICE)
    parser.add_argument("--overwrite", action="store_true", help=_OVERWRITE)
    parser.set_defaults(handler=_train, parser=parser)


def _train(options: argparse.Namespace) -> int:
    from handwriting.train import TrainConfig, train

    result = train(config(TrainConfig, options))
    return 0 if result.signal is None else 128 + result.signal


def _add_line_model(commands: argparse._SubParsersAction) -> None:
    text = (
        "Train the post's neural line model, a network that draws one line, on random lines. A "
        "folder that holds a run is resumed. Processes that torchrun starts share each step."
    )
    parser = commands.add_parser("line-model", help="train a net that draws", description=text)
    option(parser, "--out", Path, Path("runs/line_model"), "DIR", _FOLDER)
    option(parser, "--images", int, 1_600_000, "N", "lines to train on")
    option(parser, "--minutes", float, None, "M", _MINUTES)
    option(parser, "--batch-size", int, 64, "N", "lines in a step, of all processes together")
    option(parser, "--lr", float, 1e-3, "X", "Adam's step size")
    option(parser, "--seed", int, 0, "N", "of the first weights and of the lines")
    option(
        parser, "--workers", int, 2, "N", "processes that draw lines ahead, for each that trains"
    )
    option(parser, "--device", str, None, "NAME", _DEVICE)
    parser.add_argument("--overwrite", action="store_true", help=_OVERWRITE)
    parser.set_defaults(handler=_line_model, parser=parser)


def _line_model(options: argparse.Namespace) -> int:
    from handwriting.train_lines import LineTrainConfig, train_line_model

    result = train_line_model(config(LineTrainConfig, options))
    return 0 if result.signal is None else 128 + result.signal
