"""Training runs: stopped in whatever way and resumed, they end where an unbroken run ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting import train as training
from handwriting.train import TrainConfig, train

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytestmark = pytest.mark.usefixtures("thinned_cache")

BATCHES = 5  # of 8 digits, for the 40 that data_dir holds


@pytest.fixture
def config(tmp_path, data_dir):
    """Three epochs, too short to save in between unless a test asks for it."""
    return TrainConfig(
        out=tmp_path / "run", data_dir=data_dir, epochs=3, batch_size=8, units=8, device="cpu"
    )


@pytest.fixture
def unbroken(config, tmp_path):
    """Checkpoint of a run of `config` that nothing stopped."""
    return checkpoints.load(train(dataclasses.replace(config, out=tmp_path / "unbroken")).path)


def assert_same_bits(path, wanted):
    got = checkpoints.load(path)
    assert got.training["step"] == wanted.training["step"]
    for tensors, wanted_tensors in (
        (got.weights, wanted.weights),
        (got.optimizer, wanted.optimizer),
    ):
        assert tensors.keys() == wanted_tensors.keys() and tensors
        for name, tensor in wanted_tensors.items():
            assert torch.equal(tensors[name], tensor), name


def hook_steps(monkeypatch, hook):
    """Call hook(number, target) before each training step, counted from 1."""
    pixel_loss, calls = training.pixel_loss, []

    def hooked(canvas, target):
        if canvas.requires_grad:
            calls.append(target)
            hook(len(calls), target)
        return pixel_loss(canvas, target)

    monkeypatch.setattr(training, "pixel_loss", hooked)


def logged(folder, tag):
    """[(step, value)] as TensorBoard reads them."""
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_run_that_raised_midway_resumes_to_the_same_bits(config, unbroken, monkeypatch):
    def fail(number, _):
        if number == 8:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        hook_steps(patch, fail)
        train(dataclasses.replace(config, save_every=1e-9))
    path = config.out / training.CHECKPOINT_NAME
    assert checkpoints.load(path).training["step"] == 7
    assert train(config).path == path
    assert_same_bits(path, unbroken)


def test_a_killed_process_resumes_to_the_same_bits(config, unbroken):
    killed = dataclasses.replace(config, save_every=1e-9)
    code = (
        "import sys, time, torch\nfrom pathlib import Path, PosixPath\n"
        "from handwriting import train as training\n"
        "torch.set_num_threads(1)\n"
        "pixel_loss = training.pixel_loss\n"
        "def slow(canvas, target):\n    time.sleep(0.05)\n    return pixel_loss(canvas, target)\n"
        "training.pixel_loss = slow\n"
        f"training.train(training.{killed!r})\n"
    )
    path = config.out / training.CHECKPOINT_NAME
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and checkpoints.load(path).training["step"] >= 3):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert checkpoints.load(path).training["step"] < 3 * BATCHES
    train(config)
    assert_same_bits(path, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_saves(config, unbroken, monkeypatch, capsys, number):
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        hook_steps(patch, lambda at, _: os.kill(os.getpid(), number) if at == 7 else None)
        result = train(config)
    assert (result.step, result.signal, result.test_mse) == (7, number, None)
    assert signal.getsignal(number) is handler
    assert "the same command resumes" in capsys.readouterr().out
    assert train(config).step == 3 * BATCHES
    assert "at step 7 of 15" in capsys.readouterr().out
    assert_same_bits(result.path, unbroken)


def test_the_log_of_a_resumed_run_has_each_step_once(config, unbroken, monkeypatch, tmp_path):
    def fail(number, _):
        if number == 9:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        hook_steps(patch, fail)
        train(config)  # saved at step 5, logged to step 8
    train(config)
    losses = logged(config.out, "mse/train")
    assert [step for step, _ in losses] == list(range(1, 3 * BATCHES + 1))
    assert losses == logged(tmp_path / "unbroken", "mse/train")
    assert [step for step, _ in logged(config.out, "mse/test")] == [5, 10, 15]


def test_an_epoch_shows_each_digit_once_in_an_order_of_its_own(config, monkeypatch):
    targets = []
    hook_steps(monkeypatch, lambda _, target: targets.append(target.flatten(1)))
    train(dataclasses.replace(config, epochs=2))
    shown = torch.cat(targets)
    first, second = shown[:40], shown[40:]
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist())
    assert len(set(map(tuple, first.tolist()))) > 30  # not one digit over and over


def test_training_lowers_the_loss(config):
    before = train(dataclasses.replace(config, lr=1e-12, epochs=1, units=16, seed=1)).test_mse
    config = dataclasses.replace(config, lr=5e-3, epochs=12, units=16, seed=1, overwrite=True)
    assert train(config).test_mse < 0.8 * before


def test_more_epochs_go_on_from_the_last(config, unbroken):
    train(dataclasses.replace(config, epochs=1))
    path = train(config).path
    assert_same_bits(path, unbroken)
    train(dataclasses.replace(config, epochs=2))  # nothing left to do
    assert_same_bits(path, unbroken)


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 4), ("lr", 1e-3), ("seed", 1), ("units", 9), ("limit", 24)]
)
def test_other_options_than_the_runs_are_refused_by_name(config, name, value):
    path = train(dataclasses.replace(config, epochs=1)).path
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"holds a run with {name} .*, not {value}") as caught:
        train(dataclasses.replace(config, **{name: value}))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_other_digits_than_the_runs_are_refused(config, monkeypatch):
    train(dataclasses.replace(config, epochs=1))
    load_thinned = training.load_thinned

    def inverted(*arguments):
        digits = load_thinned(*arguments)
        return dataclasses.replace(digits, images=1 - digits.images)

    monkeypatch.setattr(training, "load_thinned", inverted)
    with pytest.raises(ValueError, match="a run on other digits"):
        train(config)


def test_overwrite_starts_over(config, unbroken):
    train(dataclasses.replace(config, seed=1, epochs=1))
    assert_same_bits(train(dataclasses.replace(config, overwrite=True)).path, unbroken)


def test_a_damaged_checkpoint_is_refused_not_replaced(config):
    path = train(dataclasses.replace(config, epochs=1)).path
    path.write_bytes(path.read_bytes()[:-1])
    before = path.read_bytes()
    with pytest.raises(checkpoints.CheckpointError, match="damaged"):
        train(config)
    assert path.read_bytes() == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(config, monkeypatch):
    def poison(number, target):
        if number == 8:
            target[0, 0, 0] = float("nan")

    hook_steps(monkeypatch, poison)
    with pytest.raises(FloatingPointError, match=r"loss is nan after step 7.* of step 5"):
        train(config)
    saved = checkpoints.load(config.out / training.CHECKPOINT_NAME)
    assert saved.training["step"] == 5
    assert all(weight.isfinite().all() for weight in saved.weights.values())


def test_weights_that_are_not_finite_are_not_saved(config, monkeypatch):
    monkeypatch.setattr(TrainConfig, "__post_init__", lambda self: None)
    with pytest.raises(FloatingPointError, match="keeps the weights of step 0"):
        train(dataclasses.replace(config, lr=float("inf"), save_every=1e-9))


def test_the_time_limit_counts_the_time_before_a_resume(config, monkeypatch):
    hook_steps(monkeypatch, lambda *_: time.sleep(0.1))
    limited = dataclasses.replace(config, minutes=0.35 / 60)
    first = train(limited)
    assert 0 < first.step < 3 * BATCHES and first.test_mse is not None
    assert checkpoints.load(first.path).training["elapsed"] >= 0.35
    assert train(limited).step == first.step
    assert train(dataclasses.replace(limited, minutes=0.7 / 60)).step > first.step


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("lr", 0.0), ("lr", float("nan")), ("minutes", -1.0), ("seed", -1)],
)
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        TrainConfig(**{name: value})


def test_a_device_that_is_not_there_is_refused(config):
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        train(dataclasses.replace(config, device="abacus"))
