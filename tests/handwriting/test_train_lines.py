"""Runs of the line model: however stopped, resumed, or supplied with lines, they end the same."""

import dataclasses
import signal
import subprocess
import sys

import pytest
from training_runs import assert_same_bits

from handwriting import checkpoint as checkpoints
from handwriting.lines import draw_lines
from handwriting.models import line_model
from handwriting.resuming import hold
from handwriting.train_lines import LineTrainConfig, train_line_model

for module in ("cv2", "tensorboard", "safetensors", "tqdm"):
    pytest.importorskip(module)

STEPS = 6


@pytest.fixture
def config(tmp_path):
    """A run of six steps."""
    return LineTrainConfig(
        out=tmp_path / "run", images=4 * STEPS, batch_size=4, workers=0, device="cpu"
    )


@pytest.fixture
def small(monkeypatch):
    """A model of an eighth of the size, whose checkpoints are written eight times as fast."""
    monkeypatch.setattr(line_model, "_CHANNELS", 1)


@pytest.fixture
def unbroken(small, config, tmp_path):
    """Checkpoint of a run of `config` that nothing stopped."""
    result = train_line_model(dataclasses.replace(config, out=tmp_path / "unbroken"))
    assert result.step == STEPS
    return checkpoints.load(result.path)


def in_a_process(config, signals):
    """Train in a process and a session of its own that runs `signals` before its fifth step.

    Returns its status and what it wrote to stdout, at last the signal it caught, and to stderr. All
    from within, so that when it stops is no matter of how busy the machine is.
    """
    code = (
        "import os, signal, torch\nfrom pathlib import Path, PosixPath\n"
        "from handwriting import train_lines\nfrom handwriting.models import line_model\n"
        "torch.set_num_threads(1)\nline_model._CHANNELS = 1\n"
        "advance = train_lines._LineRun.advance\n"
        "def struck(run):\n"
        f"    if run.step == 4:\n        {signals}\n"
        "    return advance(run)\n"
        "train_lines._LineRun.advance = struck\n"
        f"result = train_lines.train_line_model(train_lines.{config!r})\n"
        "print('signal', result.signal)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
    return process.returncode, out, err


def test_a_killed_process_resumes_to_the_same_bits(config, unbroken):
    killed = dataclasses.replace(config, save_every=1e-9, workers=1)
    status, _, err = in_a_process(killed, "os.kill(os.getpid(), signal.SIGKILL)")
    assert status == -signal.SIGKILL, err
    path = config.out / checkpoints.CHECKPOINT_NAME
    assert checkpoints.load(path).training["step"] == 4
    train_line_model(config)
    assert_same_bits(path, unbroken)


def test_a_signal_to_all_processes_of_a_run_saves_and_says_how_to_go_on(config, unbroken):
    path = config.out / checkpoints.CHECKPOINT_NAME
    struck = dataclasses.replace(config, workers=2)
    status, out, err = in_a_process(struck, "os.killpg(os.getpgrp(), signal.SIGINT)")
    assert status == 0, err
    assert "the same command resumes" in out and out.endswith("signal 2\n")
    assert "Traceback" not in err
    assert checkpoints.load(path).training["step"] == 5
    train_line_model(config)
    assert_same_bits(path, unbroken)


def test_a_folder_that_is_held_is_refused(config, small):
    train_line_model(dataclasses.replace(config, images=4))
    with hold(config.out), pytest.raises(BlockingIOError, match="is in use by another process"):
        train_line_model(config)
    assert train_line_model(config).step == STEPS


def test_workers_change_nothing_but_who_draws(config, unbroken):
    assert_same_bits(train_line_model(dataclasses.replace(config, workers=2)).path, unbroken)


def test_more_images_go_on_from_the_last(config, unbroken):
    train_line_model(dataclasses.replace(config, images=7))  # the second step is half beyond
    result = train_line_model(config)
    assert_same_bits(result.path, unbroken)
    assert train_line_model(config).step == STEPS


def test_training_lowers_the_error_on_lines_it_has_not_seen(config, small):
    config = dataclasses.replace(config, images=16 * 150, batch_size=16, lr=2e-3)
    trained = train_line_model(config).test_mse
    nothing_drawn = draw_lines(5, 0, 5000)[1].double().mean().item()
    assert trained < 0.97 * nothing_drawn


@pytest.mark.parametrize(("name", "value"), [("batch_size", 3), ("lr", 2e-3), ("seed", 1)])
def test_other_options_than_the_runs_are_refused_by_name(config, small, name, value):
    path = train_line_model(dataclasses.replace(config, images=4)).path
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"holds a run with {name} .*, not {value}"):
        train_line_model(dataclasses.replace(config, **{name: value}))
    assert path.read_bytes() == before
    train_line_model(dataclasses.replace(config, **{name: value}, images=3, overwrite=True))
    assert path.read_bytes() != before


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(config, small, monkeypatch):
    monkeypatch.setattr(LineTrainConfig, "__post_init__", lambda self: None)
    with pytest.raises(FloatingPointError, match="keeps the weights of step 0"):
        train_line_model(dataclasses.replace(config, lr=float("inf")))
    assert checkpoints.load(config.out / checkpoints.CHECKPOINT_NAME).training["step"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("images", 0), ("batch_size", 0), ("workers", -1), ("seed", -1), ("seed", 2**32)),
        *(("lr", 0.0), ("lr", float("nan")), ("minutes", -1.0), ("save_every", 0.0)),
    ],
)
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        LineTrainConfig(**{name: value})
