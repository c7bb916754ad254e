"""Sub-commands on the data set of strokes: export, show and card."""

from __future__ import annotations

import argparse
from pathlib import Path

from handwriting.cli.options import config, option, shipped

_DATA = "folder of the MNIST and pendigits files (default: as for train, $SOFTRASTER_DATA)"


def add(commands: argparse._SubParsersAction) -> None:
    """Add export, show and card."""
    _add_export(commands)
    _add_show(commands)
    _add_card(commands)


def _add_export(commands: argparse._SubParsersAction) -> None:
    text = (
        "Write MNIST's digits as strokes: what a model draws, with labels and how good each "
        "drawing is. Stopped in whatever way, the same command goes on; torchrun's processes share "
        "the work. docs/dataset.md says what is in the files."
    )
    parser = commands.add_parser("export", help="write strokes to a file", description=text)
    source = parser.add_mutually_exclusive_group()
    option(source, "--shipped", str, "rung9", "NAME", "trained weights of the package")
    option(source, "--run", Path, None, "DIR", "folder of a run instead")
    option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead")
    source.add_argument("--tracer", action="store_true", help="the skeleton tracer instead")
    strokes = "a file that was exported instead, to write it in another format"
    option(source, "--strokes", Path, None, "FILE", strokes)
    out = "the file: .h5, .npz, .ndjson (as QuickDraw's) or .stroke3.npz (for sketch-rnn)"
    option(parser, "--out", Path, None, "FILE", out, required=True)
    form = "hdf5, npz, ndjson or stroke3 (default: by the suffix)"
    option(parser, "--format", str, None, "NAME", form)
    option(parser, "--bits", int, 16, "N", "of a coordinate in .h5 and .npz, 16 or 32")
    option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    option(parser, "--split", str, "all", "NAME", "train, test, or all for both in turn")
    option(parser, "--limit", int, None, "N", "the first N digits of each half (default: all)")
    parser.set_defaults(handler=_export, parser=parser)


def _export(options: argparse.Namespace) -> int:
    from handwriting.export import ExportConfig, export

    checkpoint = None if options.tracer or options.strokes else _checkpoint(options)
    export(config(ExportConfig, options, checkpoint=checkpoint))
    return 0


def _add_show(commands: argparse._SubParsersAction) -> None:
    text = (
        "Draw digits of an exported file: a sheet of them, a GIF of ten being written, one in a "
        "window. Without --png, --gif and --window: all three, the pictures beside the file."
    )
    parser = commands.add_parser("show", help="draw exported strokes", description=text)
    parser.add_argument("file", type=Path, metavar="FILE", help=".npz, .h5 or .stroke3.npz")
    option(parser, "--png", Path, None, "FILE", "the sheet, badly drawn digits on red")
    option(parser, "--gif", Path, None, "FILE", "the first ten digits of the sheet, being written")
    parser.add_argument("--window", action="store_true", help="open a window with one digit")
    option(parser, "--count", int, 100, "N", "digits on the sheet, the classes in turn")
    option(parser, "--split", str, "all", "NAME", "train, test or all")
    option(parser, "--label", int, None, "N", "this digit only")
    parser.add_argument("--failed", action="store_true", help="badly drawn digits only")
    seed = "which digits are chosen (default: 0; for a window alone, others each time)"
    option(parser, "--seed", int, None, "N", seed)
    parser.set_defaults(handler=_show, parser=parser)


def _show(options: argparse.Namespace) -> int:
    from handwriting.show import ShowConfig, show

    png, gif, window = options.png, options.gif, options.window
    if not (png or gif or window):
        png, gif = options.file.with_suffix(".png"), options.file.with_suffix(".gif")
        window = True
    seed = 0 if options.seed is None and (png or gif) else options.seed
    show(config(ShowConfig, options, png=png, gif=gif, window=window, seed=seed))
    return 0


def _add_card(commands: argparse._SubParsersAction) -> None:
    text = (
        "Make the data set and the tracer's strokes of the same digits, measure them, and train "
        "readers of strokes on them and on people's: the numbers and pictures of docs/dataset.md."
    )
    parser = commands.add_parser("card", help="measure the data set", description=text)
    source = parser.add_mutually_exclusive_group()
    option(source, "--shipped", str, "rung9", "NAME", "trained weights of the package")
    option(source, "--run", Path, None, "DIR", "folder of a run instead")
    option(source, "--checkpoint", Path, None, "FILE", "a checkpoint instead")
    files = "folder of digits.h5 and tracer.h5; what is there and fits is not made again"
    option(parser, "--files", Path, Path("runs/dataset"), "DIR", files)
    option(parser, "--out", Path, Path("results/dataset.json"), "FILE", "all numbers, as JSON")
    page = "the page whose tables are renewed, such as docs/dataset.md"
    option(parser, "--page", Path, None, "FILE", page)
    images = "folder of the page's pictures, such as docs/images"
    option(parser, "--images", Path, None, "DIR", images)
    option(parser, "--data", Path, None, "DIR", _DATA, dest="data_dir")
    option(parser, "--limit", int, None, "N", "the first N digits of each half (default: all)")
    option(parser, "--epochs", int, 3, "N", "passes of each reader over its strokes")
    option(parser, "--seed", int, 0, "N", "of the readers and of the pictures")
    parser.set_defaults(handler=_card, parser=parser)


def _card(options: argparse.Namespace) -> int:
    from handwriting.card import CardConfig, make_card

    make_card(config(CardConfig, options, checkpoint=_checkpoint(options)))
    return 0


def _checkpoint(options: argparse.Namespace) -> Path:
    """The file of the model that the options name."""
    from handwriting.checkpoint import CHECKPOINT_NAME

    run = options.run and options.run / CHECKPOINT_NAME
    return options.checkpoint or run or shipped(options)
