"""Small training runs for tests, and what tests ask of them."""

import dataclasses

import numpy as np
import torch

from handwriting import checkpoint as checkpoints
from handwriting import train as training
from handwriting.samples import resample, save_samples
from handwriting.train import TrainConfig

BATCHES = 5  # of 8 digits, for the 40 that data_dir holds


def small(folder, data_dir):
    """Three epochs, too short to save in between unless a test asks for it."""
    return TrainConfig(
        out=folder / "run", data_dir=data_dir, epochs=3, batch_size=8, units=8, device="cpu"
    )


def with_everything(config):
    """A run with everything in it that a checkpoint has to hold or a step to be a function of.

    Its samples are ten drawings, more than a batch: a diagonal each, steeper from digit to digit.
    """
    drawings = [
        resample(np.array([(0.2, 0.1, 0), (0.3 + 0.05 * digit, 0.8, 1)]), 20) for digit in range(10)
    ]
    samples = config.out.with_name("samples.npz")
    save_samples(samples, drawings, list(range(10)))
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
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]
