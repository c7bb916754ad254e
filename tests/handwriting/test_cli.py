"""The command line: it reaches train and figures, and whatever is wrong is said in one line."""

import dataclasses
import os
import subprocess
import sys

import pytest

from handwriting import cli
from handwriting import collect as collect_module
from handwriting import figures as figures_module
from handwriting import train as train_module
from handwriting import train_lines as train_lines_module
from handwriting.checkpoint import CHECKPOINT_NAME
from handwriting.cli import main

pytestmark = pytest.mark.usefixtures("thinned_cache")


@pytest.fixture
def run_dir(tmp_path, data_dir):
    """A run of one small epoch."""
    out = tmp_path / "run"
    options = ["--epochs", "1", "--units", "4", "--batch-size", "20", "--device", "cpu"]
    assert main(["train", "--out", str(out), "--data", str(data_dir), *options]) == 0
    return out


def failing(arguments, capsys, status):
    """The only line that a command writes to stderr as it fails with `status`."""
    capsys.readouterr()
    try:
        got = main(arguments)
    except SystemExit as stop:
        got = stop.code
    lines = capsys.readouterr().err.splitlines()
    assert got == status and len(lines) == 1, (got, lines)
    return lines[0]


def test_a_run_can_be_drawn(run_dir, data_dir, tmp_path, capsys):
    assert main(["figures", "--run", str(run_dir), "--data", str(data_dir)]) == 0
    assert (run_dir / "figure.png").exists() and (run_dir / "figure.npz").exists()
    out = tmp_path / "else.png"
    checkpoint = str(run_dir / CHECKPOINT_NAME)
    capsys.readouterr()
    options = ["--checkpoint", checkpoint, "--data", str(data_dir), "--out", str(out)]
    assert main(["figures", *options, "--count", "3"]) == 0
    assert capsys.readouterr().out.split() == [str(out), str(out.with_suffix(".npz"))]


@pytest.mark.parametrize(
    ("command", "module", "name", "chosen"),
    [
        ("train", train_module, "TrainConfig", set()),
        ("figures", figures_module, "FigureConfig", {"checkpoint", "out"}),
        ("line-model", train_lines_module, "LineTrainConfig", set()),
        ("collect", collect_module, "CollectConfig", set()),
    ],
)
def test_defaults_are_those_of_the_configs(command, module, name, chosen):
    options = vars(cli.build_parser().parse_args([command]))
    defaults = {field.name: field.default for field in dataclasses.fields(getattr(module, name))}
    shared = (defaults.keys() & options.keys()) - chosen
    assert len(shared) >= 2
    assert {key: options[key] for key in shared} == {key: defaults[key] for key in shared}


def test_help_says_every_option_and_imports_no_torch():
    for command in ("train", "figures"):
        code = (
            "import sys\nfrom handwriting.cli import main\n"
            f"try:\n    main(['{command}', '--help'])\n"
            "finally:\n    assert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--data DIR" in done.stdout and "(default: 0)" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["paint"], "paint"),
        (["train", "--epochs", "few"], "--epochs"),
        (["train", "--epochs", "0"], "epochs must be an integer of at least 1, got 0"),
        (["train", "--lr", "nan"], "lr must be"),
        (["train", "--minutes", "-1"], "minutes must be"),
        (["train", "--colour"], "--colour"),
        (["figures", "--count", "0"], "count must be at least 1"),
        (["line-model", "--images", "0"], "images must be an integer of at least 1, got 0"),
        (["collect", "--out", "a.txt"], "out must be the name of a .json file, got a.txt"),
        (["figures", "--out", "a.pdf"], ".png"),
        (["figures", "--run", "a", "--checkpoint", "b"], "not allowed with"),
    ],
)
def test_bad_options_are_one_line_and_status_2(arguments, says, capsys):
    assert says in failing(arguments, capsys, 2)


def test_missing_files_and_folders_are_one_line_and_status_1(tmp_path, data_dir, capsys):
    absent, data = str(tmp_path / "absent"), str(data_dir)
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert "absent" in failing(["figures", "--run", absent, "--data", data], capsys, 1)
    assert "absent" in failing(
        ["train", "--out", str(tmp_path / "run"), "--data", absent], capsys, 1
    )
    for out in (occupied, occupied / "run"):
        assert "file" in failing(["train", "--out", str(out), "--data", data], capsys, 1)


def test_a_damaged_checkpoint_is_one_line_and_status_1(run_dir, data_dir, capsys):
    path = run_dir / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:200])
    for command in ("train --out", "figures --run"):
        line = failing([*command.split(), str(run_dir), "--data", str(data_dir)], capsys, 1)
        assert str(path) in line and "damaged" in line


def test_an_option_that_differs_from_the_runs_is_one_line_and_status_1(run_dir, data_dir, capsys):
    arguments = ["train", "--out", str(run_dir), "--data", str(data_dir), "--units", "4"]
    assert "batch_size 20, not 64" in failing(arguments, capsys, 1)


def test_ctrl_c_is_status_130(run_dir, data_dir, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures_module, "load_writer", interrupt)
    arguments = ["figures", "--run", str(run_dir), "--data", str(data_dir)]
    assert failing(arguments, capsys, 130) == "interrupted"


def test_the_package_runs_as_a_module(tmp_path):
    command = [sys.executable, "-m", "handwriting", "figures", "--run", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "absent" in done.stderr
