"""Training runs: stopped in whatever way and resumed, they end where an unbroken run ends."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import softraster
from handwriting import checkpoint as checkpoints
from handwriting import running
from handwriting import train as training
from handwriting.losses import blurred_loss, length_loss, turning_loss
from handwriting.models.line_model import LineModel
from handwriting.practice import Practice
from handwriting.samples import resample, save_samples
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
def samples(tmp_path):
    """A file of ten drawings, more than a batch: a diagonal each, steeper from digit to digit."""
    drawings = [
        resample(np.array([(0.2, 0.1, 0), (0.3 + 0.05 * digit, 0.8, 1)]), 20) for digit in range(10)
    ]
    path = tmp_path / "samples.npz"
    save_samples(path, drawings, list(range(10)))
    return path


@pytest.fixture
def full(config, samples):
    """A run with everything in it that a checkpoint has to hold or a step to be a function of."""
    return dataclasses.replace(
        config,
        out=config.out.with_name("full"),
        model="ensemble",
        dropout=0.3,
        composite="max",
        length_weight=0.01,
        turning_weight=0.01,
        blur=1.0,
        samples=samples,
        warm_up=3,
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


def test_samples_come_first_and_then_once_before_every_step_on_digits(full, monkeypatch):
    done = []
    step = Practice.step

    def practise(self, number):
        done.append(number)
        return step(self, number)

    monkeypatch.setattr(Practice, "step", practise)
    hook_steps(monkeypatch, lambda *_: done.append("digits"))
    train(dataclasses.replace(full, epochs=1))
    assert done == [0, 1, 2, 3, "digits", 4, "digits", 5, "digits", 6, "digits", 7, "digits"]
    assert len(logged(full.out, "mse/samples")) == BATCHES


def test_samples_are_learned_point_by_point(full):
    def distance(epochs):
        config = dataclasses.replace(
            full, epochs=epochs, warm_up=1, sample_lr=5e-3, lr=1e-9, dropout=0.0, overwrite=True
        )
        train(config)
        return [value for _, value in logged(config.out, "mse/samples")][-1]

    assert distance(40) < 0.1 * distance(1)


def test_the_loss_is_the_weighted_sum_of_its_parts(full, monkeypatch):
    config = dataclasses.replace(
        full, samples=None, dropout=0.0, epochs=1, length_weight=3.0, turning_weight=5.0, blur=7.0
    )
    seen = []

    def spy(canvas, target):
        seen.append((canvas, target))
        return torch.zeros(()) * canvas.sum()

    drawn = []
    draw_strokes = softraster.draw_strokes

    def draw(strokes, *arguments, **options):
        drawn.append((strokes, options))
        return draw_strokes(strokes, *arguments, **options)

    monkeypatch.setattr(softraster, "draw_strokes", draw)
    monkeypatch.setattr(training, "pixel_loss", spy)
    train(config)
    (canvas, target), (strokes, options) = seen[0], drawn[0]
    assert options == {"composite": "max"}
    for name, value in (
        ("length", 3 * length_loss(strokes)),
        ("turning", 5 * turning_loss(strokes)),
        ("blurred", 7 * blurred_loss(canvas, target)),
    ):
        assert logged(config.out, f"loss/{name}")[0][1] == pytest.approx(value.item(), rel=1e-5)


def test_a_run_can_draw_with_the_line_model_and_resumes_with_no_other(config, tmp_path):
    path = tmp_path / "lines.safetensors"
    config = dataclasses.replace(config, renderer="line_model", line_model=path, epochs=2)

    def save_line_model(seed):
        torch.manual_seed(seed)
        model = LineModel()
        checkpoints.save(path, checkpoints.Checkpoint(model.config, model.state_dict()))

    save_line_model(0)
    other = dataclasses.replace(config, out=tmp_path / "unbroken")
    unbroken = checkpoints.load(train(other).path)
    train(dataclasses.replace(config, epochs=1))
    save_line_model(1)
    with pytest.raises(ValueError, match=r"on other line_model"):
        train(config)
    with pytest.raises(ValueError, match="holds a run with renderer line_model, not soft"):
        train(dataclasses.replace(config, renderer="soft", line_model=None))
    save_line_model(0)
    assert_same_bits(train(config).path, unbroken)


@pytest.mark.parametrize("name", ["length_weight", "turning_weight", "blur"])
def test_each_extra_loss_changes_what_is_learned(config, unbroken, name):
    path = train(dataclasses.replace(config, **{name: 1.0})).path
    weights = checkpoints.load(path).weights
    assert not torch.equal(weights["projection"], unbroken.weights["projection"])


@pytest.mark.parametrize(("model", "units", "lr"), [("writer", 512, 5e-4), ("ensemble", 64, 1e-3)])
def test_units_and_lr_are_the_posts_unless_given(model, units, lr):
    config = TrainConfig(model=model).with_defaults()
    assert (config.units, config.lr, config.model_config().units) == (units, lr, units)
    config = TrainConfig(model=model, units=7, lr=2.0).with_defaults()
    assert (config.units, config.lr, config.model_config().units) == (7, 2.0, 7)


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
        "config": json.dumps({"units": 8, "points": 20}),
        "training": json.dumps(training_state),
    }
    path.write_bytes(safetensors_torch.save(tensors, metadata))
    train(config)
    assert_same_bits(path, unbroken)


def test_other_samples_than_the_runs_are_refused(full, samples):
    train(dataclasses.replace(full, epochs=1))
    save_samples(samples, [resample(np.array([(0.2, 0.1, 0), (0.3, 0.8, 1)]), 20)], [1])
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
    [
        *(("epochs", 0), ("lr", 0.0), ("lr", float("nan")), ("minutes", -1.0), ("seed", -1)),
        *(("model", "parrot"), ("composite", "over"), ("dropout", 1.0), ("blur", -1.0)),
        *(("length_weight", float("inf")), ("turning_weight", -0.01), ("renderer", "laser")),
        *(("sample_lr", 0.0), ("warm_up", -1), ("units", 0)),
    ],
)
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    "options", [{"renderer": "line_model"}, {"line_model": Path("lines.safetensors")}]
)
def test_the_line_model_needs_its_file_and_nothing_else_takes_one(options):
    with pytest.raises(ValueError, match="renderer line_model goes with a file"):
        TrainConfig(**options)


def test_a_device_that_is_not_there_is_refused(config):
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        train(dataclasses.replace(config, device="abacus"))
