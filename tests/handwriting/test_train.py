"""Training: what a step learns from, what it minimises, and which options it takes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ranked_runs import assert_same_but_for_rounding, assert_same_losses
from training_runs import BATCHES, assert_same_bits, hook_steps, logged, small, with_everything

import softraster
from handwriting import checkpoint as checkpoints
from handwriting import train as training
from handwriting.learner import Learner
from handwriting.losses import blurred_loss, length_loss, turning_loss
from handwriting.models.line_model import LineModel
from handwriting.practice import Practice
from handwriting.train import TrainConfig, train

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


def test_a_cosine_is_pytorchs_for_both_adams_and_resumes_to_the_same_bits(
    full, monkeypatch, tmp_path
):
    config = dataclasses.replace(full, lr=3e-3, lr_schedule="cosine")
    sizes = []
    advance = training._WriterRun.advance

    def note(run):
        logged = advance(run)
        sizes.append([adam.param_groups[0]["lr"] for adam in run.optimizers.values()])
        return logged

    monkeypatch.setattr(training._WriterRun, "advance", note)
    unbroken = checkpoints.load(train(dataclasses.replace(config, out=tmp_path / "unbroken")).path)
    adams = [torch.optim.Adam([torch.zeros(1)], lr) for lr in (3e-3, config.sample_lr)]
    theirs = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, 3 * BATCHES) for adam in adams]
    wanted = []
    for _ in range(3 * BATCHES):
        wanted.append([adam.param_groups[0]["lr"] for adam in adams])
        for adam, schedule in zip(adams, theirs, strict=True):
            adam.step()
            schedule.step()
    np.testing.assert_allclose(sizes, wanted, rtol=1e-9)
    assert wanted[0][0] > 50 * wanted[-1][0] > 0

    def fail(number, _):
        if number == 8:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):
        hook_steps(patch, fail)
        train(dataclasses.replace(config, save_every=1e-9))
    assert_same_bits(train(config).path, unbroken)
    constant = train(dataclasses.replace(config, out=tmp_path / "constant", lr_schedule="constant"))
    weights = checkpoints.load(constant.path).weights
    assert not all(torch.equal(weights[name], x) for name, x in unbroken.weights.items())


def test_a_cosine_has_the_epochs_that_it_began_with(config):
    config = dataclasses.replace(config, lr_schedule="cosine")
    train(dataclasses.replace(config, minutes=1e-9))
    with pytest.raises(ValueError, match="holds a run with epochs 3, not 4"):
        train(dataclasses.replace(config, epochs=4))
    with pytest.raises(ValueError, match="holds a run with lr_schedule cosine, not constant"):
        train(dataclasses.replace(config, lr_schedule="constant"))
    assert train(config).step == 3 * BATCHES


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


@pytest.mark.parametrize("model", ["writer", "ensemble"])
def test_a_run_is_a_plain_loop_of_adams_steps_bit_for_bit(config, model):
    config = dataclasses.replace(config, model=model, epochs=2, lr=1e-3, blur=0.5)
    got = checkpoints.load(train(config).path).weights
    digits = training.load_thinned("train", config.data_dir)
    torch.manual_seed(config.seed)
    net = checkpoints.build(config.model_config())
    adam = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
    for epoch in range(2):
        order = torch.from_numpy(np.random.default_rng((config.seed, epoch)).permutation(40))
        for which in order.split(8):
            target = digits.images[which].float()
            canvas = softraster.draw_strokes(net(target, digits.labels[which]), 28)
            adam.zero_grad()
            ((canvas - target).square().mean() + 0.5 * blurred_loss(canvas, target)).backward()
            adam.step()
    for name, weight in net.state_dict().items():
        assert torch.equal(got[name], weight), name


@pytest.mark.parametrize("model", ["writer", "ensemble"])
def test_accumulated_steps_are_whole_ones_but_for_rounding(full, model, monkeypatch):
    full = dataclasses.replace(full, model=model, dropout=0.0, composite="sum", epochs=2)
    sizes = []
    hook_steps(monkeypatch, lambda _, target: sizes.append(len(target)))
    whole = train(full).path
    assert sizes == [8] * 2 * BATCHES
    sizes.clear()
    parts = dataclasses.replace(full, accumulate=3, out=full.out.with_name("parts"))
    assert_same_but_for_rounding(train(parts).path, whole)
    assert sizes == [2, 3, 3] * 2 * BATCHES
    # Angles of short steps magnify rounding: their loss differs by ten times what the others do.
    for tag, first in (("mse/train", 1e-5), ("loss/samples", 1e-5), ("loss/turning", 1e-4)):
        values, wanted = ([loss for _, loss in logged(c.out, tag)] for c in (parts, full))
        assert_same_losses(values, wanted, first=first, most=1e-3)
    assert train(dataclasses.replace(parts, accumulate=1, epochs=3)).step == 3 * BATCHES


def test_a_run_in_bfloat16_learns_and_draws_in_float32(config, monkeypatch):
    types = set()
    draw_strokes = softraster.draw_strokes

    def draw(strokes, *arguments, **options):
        types.add(strokes.dtype)
        return draw_strokes(strokes, *arguments, **options)

    monkeypatch.setattr(softraster, "draw_strokes", draw)
    config = dataclasses.replace(config, precision="bfloat16", units=16, seed=1)
    before = train(dataclasses.replace(config, lr=1e-12, epochs=1)).test_mse
    low = dataclasses.replace(config, lr=5e-3, epochs=12, overwrite=True)
    result = train(low)
    assert result.test_mse < 0.8 * before
    weights = checkpoints.load(result.path).weights
    assert types == {torch.float32} == {weight.dtype for weight in weights.values()}
    # Nearly what float32 learns, but not quite.
    high = dataclasses.replace(low, precision="float32", out=config.out.with_name("high"), epochs=1)
    train(high)
    wanted = [loss for _, loss in logged(high.out, "mse/train")]
    losses = [loss for _, loss in logged(low.out, "mse/train")][-12 * BATCHES :][:BATCHES]
    assert_same_losses(losses, wanted, first=2e-3, most=5e-2)
    assert losses != wanted


@pytest.mark.parametrize("model", ["writer", "ensemble"])
def test_gradients_in_bfloat16_are_nearly_those_in_float32(model):
    torch.manual_seed(0)
    net = checkpoints.build(TrainConfig(model=model, units=12).with_defaults().model_config())
    images, labels = (torch.rand(9, 28, 28) > 0.8).float(), torch.arange(9)
    gradients = []
    for precision in ("float32", "bfloat16"):
        net.zero_grad()
        Learner(net, precision=precision)(images, labels)[..., :2].square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for wanted, got in zip(*gradients, strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() < 0.03 * wanted.norm() or wanted.norm() == 0


def test_another_precision_than_the_runs_is_refused_and_none_is_float32(config):
    path = train(dataclasses.replace(config, epochs=1)).path
    other = dataclasses.replace(config, precision="bfloat16")
    with pytest.raises(ValueError, match="holds a run with precision float32, not bfloat16"):
        train(other)
    held = checkpoints.load(path)
    del held.training["options"]["precision"]  # as of a run from before there was a choice
    checkpoints.save(path, held)
    with pytest.raises(ValueError, match="holds a run with precision float32, not bfloat16"):
        train(other)
    assert train(config).step == 3 * BATCHES


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
    assert len(logged(full.out, "loss/samples")) == BATCHES


def test_samples_are_learned_point_by_point(full):
    def distance(epochs):
        config = dataclasses.replace(
            full, epochs=epochs, warm_up=1, sample_lr=5e-3, lr=1e-9, dropout=0.0, overwrite=True
        )
        train(config)
        return [value for _, value in logged(config.out, "loss/samples")][-1]

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


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(config, monkeypatch):
    def poison(number, target):
        if number == 8:
            target[0, 0, 0] = float("nan")

    hook_steps(monkeypatch, poison)
    with pytest.raises(FloatingPointError, match=r"loss is nan after step 7.* of step 5"):
        train(config)
    saved = checkpoints.load(config.out / checkpoints.CHECKPOINT_NAME)
    assert saved.training["step"] == 5
    assert all(weight.isfinite().all() for weight in saved.weights.values())


def test_weights_that_are_not_finite_are_not_saved(config, monkeypatch):
    monkeypatch.setattr(TrainConfig, "__post_init__", lambda self: None)
    with pytest.raises(FloatingPointError, match="keeps the weights of step 0"):
        train(dataclasses.replace(config, lr=float("inf"), save_every=1e-9))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epochs", 0), ("lr", 0.0), ("lr", float("nan")), ("minutes", -1.0), ("seed", -1)),
        *(("model", "parrot"), ("composite", "over"), ("dropout", 1.0), ("blur", -1.0)),
        *(("length_weight", float("inf")), ("turning_weight", -0.01), ("renderer", "laser")),
        *(
            ("sample_lr", 0.0),
            ("sample_scale", 0.0),
            ("warm_up", -1),
            ("units", 0),
            ("lr_schedule", "stairs"),
        ),
        *(("accumulate", 0), ("precision", "float16"), ("emnist", "letters")),
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
