"""Training runs: stopped in whatever way and resumed, they end where an unbroken run ends."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from training_runs import BATCHES, assert_same_bits, hook_steps, logged, small, with_everything

from handwriting import checkpoint as checkpoints
from handwriting import running
from handwriting import train as training
from handwriting.samples import resample, save_samples
from handwriting.train import train

for module in ("tensorboard", "safetensors", "tqdm", "filelock"):
    pytest.importorskip(module)
pytestmark = pytest.mark.usefixtures("thinned_cache")


@pytest.fixture
def config(tmp_path, data_dir):
    return small(tmp_path, data_dir)


@pytest.fixture
def full(config):
    return with_everything(config)


@pytest.fixture
def unbroken(config, tmp_path):
    """Checkpoint of a run of `config` that nothing stopped."""
    return checkpoints.load(train(dataclasses.replace(config, out=tmp_path / "unbroken")).path)


def test_a_run_that_raised_midway_resumes_to_the_same_bits(config, unbroken, monkeypatch):
    def fail(number, _):
        if number == 8:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        hook_steps(patch, fail)
        train(dataclasses.replace(config, save_every=1e-9))
    path = config.out / checkpoints.CHECKPOINT_NAME
    assert checkpoints.load(path).training["step"] == 7
    assert train(config).path == path
    assert_same_bits(path, unbroken)


KILL_IN_STEP = (
    "pixel_loss = training.pixel_loss\n"
    "def fatal(canvas, target):\n"
    "    calls.append(canvas.requires_grad)\n"
    "    if sum(calls) == 8:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    "    return pixel_loss(canvas, target)\n"
    "training.pixel_loss = fatal\n"
)


KILL_IN_SAVE = (
    "replace = os.replace\n"
    "def fatal(*names):\n"
    "    calls.append(True)\n"
    "    if sum(calls) == 9:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    "    replace(*names)\n"
    "os.replace = fatal\n"
)


def in_a_process(config, patch, **more):
    """Train in a process of its own, after the code `patch`, with at most ten minutes of time."""
    code = (
        "import os, signal, sys, torch\nfrom pathlib import Path, PosixPath\n"
        "from handwriting import train as training\n"
        f"torch.set_num_threads(1)\ncalls = []\n{patch}training.train(training.{config!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, **more)


# Killed from within, so that when is no matter of how busy the machine is: in step 8, or before the
# checkpoint of step 8, the ninth, is put in its place.
@pytest.mark.parametrize("kill", [KILL_IN_STEP, KILL_IN_SAVE], ids=["in a step", "in a save"])
def test_a_killed_process_resumes_to_the_same_bits(config, unbroken, kill):
    process = in_a_process(dataclasses.replace(config, save_every=1e-9), kill)
    try:
        assert process.wait(timeout=600) == -signal.SIGKILL
    finally:
        process.kill()
    path = config.out / checkpoints.CHECKPOINT_NAME
    assert checkpoints.load(path).training["step"] == 7
    train(config)
    assert_same_bits(path, unbroken)


@pytest.mark.parametrize("options", [{}, {"model": "writer"}], ids=["ensemble", "writer"])
def test_a_run_with_all_options_resumes_to_the_same_bits(full, options, monkeypatch, tmp_path):
    config = dataclasses.replace(full, **options)
    unbroken = checkpoints.load(train(dataclasses.replace(config, out=tmp_path / "unbroken")).path)

    def fail(number, _):
        if number == 8:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        hook_steps(patch, fail)
        train(dataclasses.replace(config, save_every=1e-9))
    torch.rand(3)  # dropout must not depend on what else draws random numbers
    assert_same_bits(train(config).path, unbroken)
    assert any(name.startswith("samples/") for name in unbroken.optimizer)


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
    monkeypatch.setattr(running, "FETCH_EVERY", 1)

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


def test_more_epochs_go_on_from_the_last(config, unbroken):
    train(dataclasses.replace(config, epochs=1))
    path = train(config).path
    assert_same_bits(path, unbroken)
    train(dataclasses.replace(config, epochs=2))  # nothing left to do
    assert_same_bits(path, unbroken)


def test_a_folder_is_one_processs_until_that_dies(config, unbroken, tmp_path):
    train(dataclasses.replace(config, epochs=1))
    before = (config.out / checkpoints.CHECKPOINT_NAME).read_bytes()
    wait = (
        "def wait(run):\n"
        "    sys.stderr.write('in a step\\n')\n    sys.stderr.flush()\n    signal.pause()\n"
        "training._WriterRun.advance = wait\n"
    )
    process = in_a_process(config, wait, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(600, process.kill)
    timer.start()
    try:
        for line in process.stderr:
            if line == "in a step\n":
                break
        for options in ({}, {"overwrite": True}):
            with pytest.raises(BlockingIOError, match="is in use by another process") as caught:
                train(dataclasses.replace(config, **options))
            assert str(config.out) in str(caught.value) and "\n" not in str(caught.value)
        assert process.poll() is None
        train(dataclasses.replace(config, out=tmp_path / "other", epochs=1))
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
    assert (config.out / checkpoints.CHECKPOINT_NAME).read_bytes() == before
    assert_same_bits(train(config).path, unbroken)


def test_a_run_that_failed_lets_go_of_its_folder(config, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        hook_steps(patch, lambda *_: 1 / 0)
        train(config)
    assert train(config).step == 3 * BATCHES


def test_a_checkpoint_names_the_machine_that_did_its_steps(config, monkeypatch):
    first = train(dataclasses.replace(config, epochs=1))
    machine = checkpoints.load(first.path).training["machine"]
    assert machine == {"device": f"{os.cpu_count()} CPU cores", "threads": torch.get_num_threads()}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    train(dataclasses.replace(config, epochs=1))  # nothing left to do
    assert checkpoints.load(first.path).training["machine"] == machine
    train(dataclasses.replace(config, epochs=2))
    assert checkpoints.load(first.path).training["machine"] == {**machine, "threads": 99}


def test_a_run_from_before_there_was_a_choice_of_models_goes_on(config, unbroken):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    path = train(dataclasses.replace(config, epochs=1)).path
    with safetensors_torch.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    training_state = json.loads(metadata["training"])
    old = ("batch_size", "lr", "seed", "units", "limit")
    training_state["options"] = {name: training_state["options"][name] for name in old}
    metadata.pop("model")
    metadata |= {
        "version": "1",
        "checksum": checkpoints.checksum(tensors),
        "config": json.dumps({"units": 8, "points": 20}),
        "training": json.dumps(training_state),
    }
    path.write_bytes(safetensors_torch.save(tensors, metadata))
    train(config)
    assert_same_bits(path, unbroken)


def test_other_samples_than_the_runs_are_refused(full):
    train(dataclasses.replace(full, epochs=1))
    save_samples(full.samples, [resample(np.array([(0.2, 0.1, 0), (0.3, 0.8, 1)]), 20)], [1])
    with pytest.raises(ValueError, match=r"on other samples \(10 drawings.*, not 1 drawings"):
        train(full)
    with pytest.raises(ValueError, match=r"on other samples \(10 drawings.*, not none\)"):
        train(dataclasses.replace(full, samples=None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("batch_size", 4), ("lr", 1e-3), ("seed", 1), ("units", 9), ("limit", 24)),
        *(("model", "ensemble"), ("composite", "max"), ("dropout", 0.5), ("blur", 1.0)),
        *(("length_weight", 0.01), ("turning_weight", 0.01), ("sample_lr", 1.0), ("warm_up", 1)),
        *(("lr_schedule", "cosine"), ("sample_scale", 3.0)),
    ],
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


@pytest.mark.parametrize("lost", ["projection/exp_avg", "samples/bias1/exp_avg_sq", ""])
def test_a_checkpoint_without_all_of_the_optimizers_is_not_resumed(full, lost):
    path = train(dataclasses.replace(full, epochs=1)).path
    checkpoint = checkpoints.load(path)
    kept = {name: x for name, x in checkpoint.optimizer.items() if lost and name != lost}
    checkpoints.save(path, dataclasses.replace(checkpoint, optimizer=kept))
    with pytest.raises(checkpoints.CheckpointError, match="cannot be resumed"):
        train(full)


def test_the_time_limit_counts_the_time_before_a_resume(config, monkeypatch):
    hook_steps(monkeypatch, lambda *_: time.sleep(0.1))
    limited = dataclasses.replace(config, minutes=0.35 / 60)
    first = train(limited)
    assert 0 < first.step < 3 * BATCHES and first.test_mse is not None
    assert checkpoints.load(first.path).training["elapsed"] >= 0.35
    assert train(limited).step == first.step
    assert train(dataclasses.replace(limited, minutes=0.7 / 60)).step > first.step
