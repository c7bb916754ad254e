"""A pen learns from strings laid out from exported digits, and a stopped run ends as any."""

import dataclasses

import numpy as np
import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting import train_pen as train_pen_module
from handwriting.files import unpack_npz
from handwriting.formats import StrokeSet, save_strokes
from handwriting.layout import ALPHABET
from handwriting.models.pen import DOWN, END, LIFT, SCALE
from handwriting.samples import load_samples
from handwriting.train_pen import (
    PenTrainConfig,
    as_batch,
    draw_strings,
    train_pen,
    training_donors,
)

for module in ("safetensors", "tensorboard", "tqdm"):
    pytest.importorskip(module)

STEPS = 6


@pytest.fixture(scope="module")
def strokes(tmp_path_factory):
    """A file of 1,000 digits as `export` writes it, the project's own drawings over and over."""
    samples = load_samples("own")
    numbers = np.concatenate([np.flatnonzero(samples.labels == label) for label in range(10)])
    per_label = len(numbers) // 10
    # Every label on even and on odd places.
    chosen = np.array(
        [numbers[per_label * (n // 2 % 10) + n // 20 % per_label] for n in range(1000)]
    )
    drawn = StrokeSet(
        samples.strokes.numpy()[chosen],
        samples.labels.numpy()[chosen],
        np.arange(1000),
        np.zeros(1000, int),
        np.zeros(1000, bool),
        {},
        {},
    )
    path = tmp_path_factory.mktemp("strokes") / "digits.npz"
    save_strokes(path, drawn, "npz")
    return path


@pytest.fixture
def config(strokes, tmp_path, monkeypatch):
    """A run of six steps, measured every four."""
    monkeypatch.setattr(train_pen_module, "EPOCH_STEPS", 4)
    return PenTrainConfig(
        strokes, tmp_path / "run", steps=STEPS, characters=6, longest=3, units=8, device="cpu"
    )


def assert_same_bits(path, other):
    got, wanted = checkpoints.load(path), checkpoints.load(other)
    assert got.training["step"] == wanted.training["step"] == STEPS
    for tensors, others in ((got.weights, wanted.weights), (got.optimizer, wanted.optimizer)):
        assert tensors.keys() == others.keys() and tensors
        for name, tensor in others.items():
            assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_a_stopped_run_resumes_to_the_same_bits(config, tmp_path, monkeypatch, stop):
    whole = train_pen(dataclasses.replace(config, out=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(train_pen_module._PenRun, "time_is_up", lambda run: run.step >= stop)
        assert train_pen(config).step == stop
    assert_same_bits(train_pen(config).path, whole.path)


def test_training_makes_unseen_strings_likelier(config):
    before = train_pen(dataclasses.replace(config, steps=1)).measured
    longer = dataclasses.replace(config, steps=60, characters=24, lr=1e-2, overwrite=True)
    after = train_pen(longer).measured
    assert after["nats/test"] < before["nats/test"] - 0.5
    assert set(after) == {"nats/test", "attention/test"}


def test_other_options_or_digits_than_the_runs_are_refused_by_name(config, strokes, tmp_path):
    train_pen(dataclasses.replace(config))
    for name, value in (("units", 9), ("lr", 0.5), ("seed", 1), ("steps", 7), ("longest", 4)):
        with pytest.raises(ValueError, match=f"holds a run with {name} .*, not {value}"):
            train_pen(dataclasses.replace(config, **{name: value}))
    fewer = unpack_npz(strokes)
    fewer["failed"] = np.arange(1000) == 7
    path = tmp_path / "fewer.npz"
    np.savez(path, **fewer)
    with pytest.raises(ValueError, match="on other strokes"):
        train_pen(dataclasses.replace(config, strokes=path))


def test_too_few_digits_are_refused(config, strokes, tmp_path):
    fewer = unpack_npz(strokes)
    fewer["failed"] = np.arange(1000) > 100
    path = tmp_path / "few.npz"
    np.savez(path, **fewer)
    with pytest.raises(ValueError, match=r"few\.npz: has too few usable training digits \(101\)"):
        train_pen(dataclasses.replace(config, strokes=path))


def test_a_batch_says_of_each_point_where_the_next_one_is(strokes):
    writings = draw_strings(training_donors(strokes), 0, 3, 30, 6)
    batch = as_batch(writings)
    for row, writing in enumerate(writings):
        count = len(writing.strokes)
        assert batch.real[:, row].tolist() == [n < count for n in range(len(batch.real))]
        steps, pen = batch.steps[:count, row], batch.pen[:count, row]
        np.testing.assert_allclose(
            steps.cumsum(0) / SCALE, writing.strokes[:, :2], atol=1e-5, err_msg=writing.text
        )
        wanted = np.where(writing.strokes[:, 2] > 0.5, LIFT, DOWN)
        wanted[-1] = END
        np.testing.assert_array_equal(pen, wanted)
        np.testing.assert_array_equal(batch.characters[:count, row], writing.characters)
        # What is told before a point is the step to the one before it.
        np.testing.assert_array_equal(batch.points[1:count, row, :2], steps[:-1])
        text = "".join(ALPHABET[code] for code in batch.text[row] if code >= 0)
        assert text == writing.text


def test_strings_are_a_function_of_seed_and_step(strokes):
    donors = training_donors(strokes)

    def text(seed, step):
        return [writing.text for writing in draw_strings(donors, seed, step, 40, 8)]

    assert text(1, 2) == text(1, 2)
    assert text(1, 2) != text(1, 3) and text(1, 2) != text(2, 2)
    for step in range(20):
        texts = text(0, step)
        assert len(texts) == 40 // max(map(len, texts)) or max(map(len, texts)) < 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", 0), ("characters", 0), ("longest", 0), ("units", 0), ("seed", -1)),
        *(("seed", 2**32), ("lr", 0.0), ("lr", float("nan")), ("minutes", -1.0)),
    ],
)
def test_bad_options_are_refused_by_name(strokes, name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PenTrainConfig(strokes, **{name: value})
