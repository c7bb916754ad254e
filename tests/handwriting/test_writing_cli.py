"""The commands write, train-pen, legibility and ship-pen: defaults, files, and errors in a line."""

import dataclasses

import pytest

from handwriting.cli import build_parser, main
from handwriting.legibility import LegibilityConfig
from handwriting.paper import WriteConfig
from handwriting.ship_pen import ShipPenConfig
from handwriting.train_pen import PenTrainConfig

pytest.importorskip("safetensors")
image = pytest.importorskip("PIL.Image")


def error_of(arguments, capsys, status):
    """The only line on stderr of a command that fails with `status`."""
    capsys.readouterr()
    try:
        got = main(arguments)
    except SystemExit as stop:
        got = stop.code
    lines = capsys.readouterr().err.splitlines()
    assert got == status and len(lines) == 1, (got, lines)
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["write", "1"], WriteConfig),
        (["train-pen", "--strokes", "digits.npz"], PenTrainConfig),
        (["legibility"], LegibilityConfig),
        (["ship-pen", "--run", "runs/pen", "--made-by", "me"], ShipPenConfig),
    ],
)
def test_defaults_are_those_of_the_configs(arguments, kind):
    options = vars(build_parser().parse_args(arguments))
    for field in dataclasses.fields(kind):
        if field.name in options and field.default is not dataclasses.MISSING:
            assert options[field.name] == field.default, field.name


@pytest.mark.parametrize("method", ["network", "collage"])
def test_a_number_is_written_to_the_files_asked_for(tmp_path, capsys, method):
    out = tmp_path / "pi.svg"
    assert main(["write", "3.14", "--out", str(out), "--method", method]) == 0
    assert list(tmp_path.iterdir()) == [out]
    first = out.read_text()
    assert first.startswith("<svg") and first.count("<path") >= 4
    command = ["write", "3.14", "--out", str(out), "--method", method, "--png", "--gif"]
    capsys.readouterr()
    assert main([*command, "--seed", "1", "--style", "2", "--height", "32"]) == 0
    assert out.read_text() != first
    printed = capsys.readouterr().out.split()
    assert printed == [str(out.with_suffix(suffix)) for suffix in (".svg", ".png", ".gif")]
    png, gif = (image.open(out.with_suffix(suffix)) for suffix in (".png", ".gif"))
    assert png.size == gif.size and gif.n_frames > 10 and png.size[0] > png.size[1]


def test_a_sign_may_come_first_behind_two_dashes(tmp_path):
    out = tmp_path / "a.svg"
    assert main(["write", "--out", str(out), "--", "-1,5"]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["12 apples"], 1, "text has 'a', which cannot be written"),
        ([" "], 1, "text must have at least one digit or mark"),
        (["1", "--style", "999"], 1, "style must be an integer from 0 to"),
        (["1", "--neatness", "-1"], 1, "neatness must be at least 0"),
        (["1", "--method", "brush"], 1, "method must be network or collage"),
        (["1", "--seed", "-1"], 1, "seed must be an integer of at least 0"),
        (["1", "--height", "0"], 2, "height must be at least 1"),
        (["1", "--out", "a.png"], 2, "out must be the name of a .svg file"),
        (["1", "--out", "no/such/folder/a.svg"], 1, "No such file or directory"),
    ],
)
def test_errors_are_one_line_that_names_the_fault(arguments, status, message, capsys):
    assert message in error_of(["write", *arguments], capsys, status)


def test_strokes_that_are_not_there_are_named(tmp_path, capsys):
    missing = str(tmp_path / "none.npz")
    command = ["train-pen", "--strokes", missing, "--out", str(tmp_path / "run")]
    assert missing in error_of(command, capsys, 1)
