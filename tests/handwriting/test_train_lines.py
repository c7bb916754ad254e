"""Runs of the line model: however stopped, resumed, or supplied with lines, they end the same."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting.lines import draw_lines
from handwriting.models import line_model
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


def assert_same_bits(path, wanted):
    got = checkpoints.load(path)
    assert got.training["step"] == wanted.training["step"]
    for tensors, others in ((got.weights, wanted.weights), (got.optimizer, wanted.optimizer)):
        assert tensors.keys() == others.keys() and tensors
        for name, tensor in others.items():
            assert torch.equal(tensors[name], tensor), name


def start(config, before="", after=""):
    """Train in a process and a session of its own, with code around it."""
    code = (
        "import time, torch\nfrom pathlib import Path, PosixPath\n"
        "from handwriting import train_lines\nfrom handwriting.models import line_model\n"
        "torch.set_num_threads(1)\nline_model._CHANNELS = 1\n"
        f"{before}\n"
        f"result = train_lines.train_line_model(train_lines.{config!r})\n"
        f"{after}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


SLOW = (
    "draw_lines = train_lines.line_batches\n"
    "def slow(*arguments):\n"
    "    for batch in draw_lines(*arguments):\n        time.sleep(0.2)\n        yield batch\n"
    "train_lines.line_batches = slow\n"
)


def wait_for_step(process, path, step):
    deadline = time.monotonic() + 60
    while not (path.exists() and checkpoints.load(path).training["step"] >= step):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_process_resumes_to_the_same_bits(config, unbroken):
    path = config.out / "checkpoint.safetensors"
    process = start(dataclasses.replace(config, save_every=1e-9, workers=1), SLOW)
    with process:
        try:
            wait_for_step(process, path, 2)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert checkpoints.load(path).training["step"] < STEPS
    train_line_model(config)
    assert_same_bits(path, unbroken)


def test_a_signal_to_all_processes_of_a_run_saves_and_says_how_to_go_on(config, unbroken):
    path = config.out / "checkpoint.safetensors"
    config = dataclasses.replace(config, save_every=1e-9, workers=2)
    with start(config, SLOW, "print('signal', result.signal)") as process:
        try:
            wait_for_step(process, path, 1)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "the same command resumes" in out and out.endswith("signal 2\n")
    assert "Traceback" not in err
    assert 1 <= checkpoints.load(path).training["step"] < STEPS
    train_line_model(config)
    assert_same_bits(path, unbroken)


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
    assert checkpoints.load(config.out / "checkpoint.safetensors").training["step"] == 0


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
