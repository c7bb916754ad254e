"""Every sub-command, used wrongly: one line that says what is wrong, status 1 or 2, no traceback.

The tables are held against the parsers: a new sub-command, or an option of one, needs an entry.
"""

import argparse
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from cli_misuses import BASE, FILES, ROWS, SLOW_ROWS

from handwriting import ship_pen, shipped
from handwriting.checkpoint import Checkpoint, save
from handwriting.cli import build_parser, main
from handwriting.data import load_thinned
from handwriting.models.line_model import LineModel, LineModelConfig
from handwriting.models.pen import Pen, PenConfig
from handwriting.models.writer import Writer, WriterConfig
from handwriting.reader import load_reader
from handwriting.samples import load_samples, save_samples

for module in ("cv2", "h5py", "mlxtend", "safetensors", "tensorboard", "filelock"):
    pytest.importorskip(module)
pytestmark = pytest.mark.usefixtures("thinned_cache")

NOTICES = ("warning: ", "Thinning ")  # that may come before the error
SUFFIXES = ("npz", "h5", "json", "png", "safetensors", "md")


def commands():
    """Parsers by the names of their sub-commands."""
    (action,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return action.choices


@pytest.fixture(scope="module")
def given(tmp_path_factory, people_dir, cache_dir):
    """Files of all wrong kinds, and a few right ones."""
    folder = tmp_path_factory.mktemp("given")
    for suffix in SUFFIXES:
        (folder / f"empty.{suffix}").write_bytes(b"")
        (folder / f"text.{suffix}").write_text("neither digits nor weights\n")
        (folder / f"folder.{suffix}").mkdir()
        # Can be opened, but not read: permissions would not keep root from it.
        (folder / f"unreadable.{suffix}").symlink_to("/proc/self/mem")
    (folder / "folder.svg").mkdir()
    (folder / "blank.png").write_bytes(png(200, 200))
    (folder / "cut.png").write_bytes(png(200, 200)[:60])
    (folder / "huge.png").write_bytes(png(100_000, 100_000, rows=1))
    own = load_samples("own")
    save_samples(folder / "few.npz", list(own.strokes.numpy()[:9]), own.labels.tolist()[8::-1])
    torch.manual_seed(0)
    for name, model in (
        ("writer", Writer(WriterConfig(units=4))),
        ("net", LineModel(LineModelConfig())),
        ("pen", Pen(PenConfig(units=4))),
    ):
        held = Checkpoint(model.config, model.state_dict())
        save(folder / f"{name}.safetensors", held)
        (folder / name).mkdir()
        save(folder / name / "checkpoint.safetensors", held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTRASTER_CACHE", str(cache_dir))
        load_reader(load_thinned("train", people_dir))
        load_thinned("test", people_dir)
    return folder


def png(width, height, rows=None):
    """A grey picture; its header says more than it holds where `rows` is given."""

    def chunk(kind, data):
        code = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", code)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = (b"\0" + b"\xf0" * width) * (height if rows is None else rows)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


@pytest.fixture
def refused(given, people_dir, tmp_path, monkeypatch, capsys):
    """The line with which a command refuses its arguments, and the status."""
    monkeypatch.chdir(tmp_path)

    def run(arguments):
        if arguments[0].startswith("ship"):  # what the package has is not to be written over
            monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
            monkeypatch.setattr(ship_pen, "WEIGHTS", tmp_path / "pen.safetensors")
        named = {"IN": given, "OUT": tmp_path, "DATA": people_dir}
        for word, folder in named.items():
            arguments = [
                str(folder) + one.removeprefix(word) if one.partition("/")[0] == word else one
                for one in arguments
            ]
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        printed = capsys.readouterr()
        lines = [line for line in printed.err.splitlines() if not line.startswith(NOTICES)]
        assert len(lines) == 1, (status, printed)
        assert ": error: " in lines[0] and "Traceback" not in lines[0], lines
        return status, lines[0]

    return run


def rows(slow):
    """(command, what is added, status, says) of all rows that take seconds, or of the others."""
    return [
        pytest.param(command, added, status, says, id=f"{command} {added}")
        for command, entries in ROWS.items()
        for added, status, says in entries
        if ((command, added.partition(" ")[0]) in SLOW_ROWS) == slow
    ]


def check_row(refused, command, added, status, says):
    got, line = refused([command, *BASE[command].split(), *added.split(" ")])
    assert got == status and says in line, (got, line)


@pytest.mark.parametrize(("command", "added", "status", "says"), rows(slow=False))
def test_wrong_use_is_refused_in_one_line(command, added, status, says, refused):
    check_row(refused, command, added, status, says)


@pytest.mark.long
@pytest.mark.parametrize(("command", "added", "status", "says"), rows(slow=True))
def test_wrong_use_that_takes_long_to_see_is_refused(command, added, status, says, refused):
    check_row(refused, command, added, status, says)


@pytest.mark.parametrize(
    ("command", "file", "status", "says"),
    [(command, *entry) for command, entries in FILES.items() for entry in entries],
)
def test_wrong_files_are_refused_in_one_line(command, file, status, says, refused):
    arguments = [file, *BASE[command].split()[1:]]
    got, line = refused([command, *arguments])
    assert got == status and says in line, (got, line)


@pytest.mark.parametrize("text", ["", "   ", "12a", "1" * 101, "१२", "1\n2", "\x00"])
def test_texts_that_cannot_be_written_are_refused(text, refused):
    status, line = refused(["write", "--method", "collage", "--out", "OUT/a.svg", "--", text])
    assert status == 1 and "text" in line


def test_every_sub_command_and_every_option_has_an_entry():
    assert ROWS.keys() == BASE.keys() == commands().keys()
    for name, parser in commands().items():
        used = {word for added, *_ in ROWS[name] for word in added.split()}
        flags = {
            action.option_strings[-1]
            for action in parser._actions
            if action.option_strings and action.nargs != 0
        }
        assert flags <= used, f"{name}: no entry for {flags - used}"
        positional = [action for action in parser._actions if not action.option_strings]
        assert not positional or name in {*FILES, "write"}, f"{name}: no files to refuse"


@pytest.mark.parametrize("command", BASE)
def test_words_for_numbers_and_missing_values_are_refused(command, refused):
    parser = commands()[command]
    whole = [command, *BASE[command].split()]
    seen = 0
    for action in parser._actions:
        if not action.option_strings or action.nargs == 0:
            continue
        flag = action.option_strings[-1]
        wrong = {int: ["many", "1.5", "", "1e3"], float: ["many", "", "1,5"]}
        for value in wrong.get(action.type, []):
            status, line = refused([*whole, flag, value])
            assert status == 2 and flag in line and repr(value) in line
        status, line = refused([*whole, flag])
        assert status == 2 and flag in line and "expected" in line
        seen += 1
    assert seen >= 2
    status, line = refused([*whole, "--colour", "red"])
    assert status == 2 and "--colour" in line
    for action in parser._actions:
        if action.required:
            status, line = refused([command])
            assert status == 2 and "required" in line


def test_a_json_of_samples_with_numbers_that_are_none_is_refused(refused, tmp_path):
    points = [[0.1, 0.2, 0], [0.3, 0.4, 1]]
    for number, wrong in enumerate(([["a", "b", 0], [0, 0, 1]], [[None, 0, 0], [0, 0, 1]], 7)):
        path = tmp_path / f"{number}.json"
        entries = [{"label": 1, "points": points}, {"label": 2, "points": wrong}]
        path.write_text(json.dumps({"drawings": entries}))
        status, line = refused(["train", *BASE["train"].split(), "--samples", str(path)])
        assert status == 1 and f"{path}: drawing 1: points must be" in line


def test_an_array_of_another_shape_is_refused(refused, tmp_path):
    path = tmp_path / "a.npz"
    for strokes in (np.zeros(5), np.zeros((2, 1, 3)), np.zeros((2, 5, 2)), np.full((2, 2, 3), 9)):
        np.savez(path, strokes=strokes, label=np.zeros(len(strokes), int))
        status, line = refused(["train", *BASE["train"].split(), "--samples", str(path)])
        assert status == 1 and f"{path}: drawing 0: " in line
