"""Trains a writer or an ensemble on thinned digits, by what its drawings look like.

A run lives in one folder: checkpoint.safetensors and TensorBoard's event files. What a step does is
a function of (seed, step) and the weights, and the checkpoint holds all the rest, so a run that was
killed and resumed ends in the same weights, bit for bit, as one that was not. The loop is left to
`running.py`, files to `checkpoint.py`, digits to `data.py`, collected strokes to `practice.py`.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handwriting import checkpoint as checkpoints
from handwriting.data import Digits, load_thinned
from handwriting.losses import blurred_loss, length_loss, pixel_loss, turning_loss
from handwriting.models.writer import WriterConfig
from handwriting.practice import Practice
from handwriting.renderers import RENDERERS, line_model_renderer, soft_renderer
from handwriting.running import (
    Batches,
    Run,
    adam_tensors,
    go,
    load_adam_tensors,
    pick_device,
)
from handwriting.samples import load_samples

CHECKPOINT_NAME = "checkpoint.safetensors"

# The post's, for options that are None.
_DEFAULTS = {"writer": {"units": 512, "lr": 5e-4}, "ensemble": {"units": 64, "lr": 1e-3}}

# Options that shape the weights, so that a resumed run must have the same.
_FIXED = (
    *("model", "batch_size", "lr", "seed", "units", "limit", "composite", "dropout"),
    *("length_weight", "turning_weight", "blur", "renderer", "sample_lr", "warm_up"),
)

# Before the names of the Adam that trains on samples, in a checkpoint.
_PRACTICE = "samples/"


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; the defaults are those of the post's first writer.

    Attributes:
        out: folder of the run, made if need be; one that holds a run is resumed.
        data_dir: folder of the MNIST files, None for what `data.load_thinned` finds.
        model: "writer", one net for all digits, or "ensemble", one for each.
        epochs: passes over the digits.
        minutes: stop after so many minutes of training, resumed ones included; None: no limit.
        batch_size: digits in a step.
        lr: Adam's step size; None: the post's, 5e-4 for a writer, 1e-3 for an ensemble.
        seed: of the first weights, of the order of the digits and of dropout.
        units: cells in each LSTM layer; None: the post's, 512 for a writer, 64 for an ensemble.
        dropout: share that is dropped of what the second and third layer get from the layer below.
        renderer: "soft" for softraster's lines, "line_model" for the neural one.
        line_model: file of the line model, with that renderer.
        composite: "sum" or "max" of the segments.
        length_weight: weight of `length_loss`. The post's is 0.01 where it has it.
        turning_weight: weight of `turning_loss`. The post's is 0.01 where it has it.
        blur: weight of `blurred_loss`; the post has none.
        samples: collected strokes to train on in between, as `load_samples` takes them; None: none.
        sample_lr: step size of the Adam that trains on samples.
        warm_up: steps on samples alone before the first digits.
        limit: train on the first so many digits only; None: on all.
        save_every: seconds between checkpoints; an epoch's end saves one too.
        test_digits: the first so many test digits are measured after each epoch.
        device: "cpu", "cuda" or the like; None: CUDA if there is a device, else the CPU.
        overwrite: start over in a folder that holds a run.
    """

    out: Path = Path("runs/writer")
    data_dir: Path | None = None
    model: str = "writer"
    epochs: int = 5
    minutes: float | None = None
    batch_size: int = 64
    lr: float | None = None
    seed: int = 0
    units: int | None = None
    dropout: float = 0.0
    renderer: str = "soft"
    line_model: Path | None = None
    composite: str = "sum"
    length_weight: float = 0.0
    turning_weight: float = 0.0
    blur: float = 0.0
    samples: Path | str | None = None
    sample_lr: float = 5e-4
    warm_up: int = 100
    limit: int | None = None
    save_every: float = 60.0
    test_digits: int = 1000
    device: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "units", "limit", "test_digits"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value}")
        for name in ("minutes", "lr", "save_every", "sample_lr"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
        for name in ("length_weight", "turning_weight", "blur", "seed", "warm_up"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        for name, choices in (("model", _DEFAULTS), ("renderer", RENDERERS)):
            if getattr(self, name) not in choices:
                known = " or ".join(choices)
                raise ValueError(f"{name} must be {known}, got {getattr(self, name)!r}")
        if (self.renderer == "line_model") != (self.line_model is not None):
            raise ValueError(
                "renderer line_model goes with a file as line_model, and no other does"
            )
        self.model_config()

    def with_defaults(self) -> TrainConfig:
        """The same with the post's values in place of None, where they depend on the model."""
        missing = {k: v for k, v in _DEFAULTS[self.model].items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)

    def model_config(self) -> WriterConfig:
        """What builds the model."""
        config_type = checkpoints.MODELS[self.model][1]
        units = self.units or _DEFAULTS[self.model]["units"]
        return config_type(units=units, composite=self.composite, dropout=self.dropout)


@dataclass(frozen=True)
class TrainResult:
    """How a run stood when it stopped.

    Attributes:
        path: its checkpoint.
        step: steps done since the run began, resumed ones included.
        test_mse: pixel loss on the test digits with these weights; None if it was interrupted.
        signal: number of the signal that interrupted it, or None.
    """

    path: Path
    step: int
    test_mse: float | None
    signal: int | None = None


def train(config: TrainConfig) -> TrainResult:
    """Train a model, or go on with the run in the folder `config.out`.

    Stops after the last epoch, at the time limit, or at Ctrl-C or SIGTERM; always with a checkpoint
    from which the same call goes on. Shows a progress bar on a terminal, prints a line per epoch.

    Raises:
        ValueError: the folder holds a run with other options, or its checkpoint is damaged; or the
            device does not exist.
        FloatingPointError: the loss or a weight is not finite; the last checkpoint is kept.
        OSError: the data cannot be read or the folder cannot be written.
    """
    config = config.with_defaults()
    config.out.mkdir(parents=True, exist_ok=True)
    digits, test_digits = (load_thinned(split, config.data_dir) for split in ("train", "test"))
    run = _WriterRun(config, digits, test_digits)
    if run.path.exists() and not config.overwrite:
        run.resume()
        print(f"Resuming {config.out} at step {run.step:,} of {run.last_step:,}")
    else:
        run.save()
        print(f"Training in {config.out} on {len(run.images):,} digits ({digits.source})")
    signal = go(run, config.save_every)
    if signal is not None:
        print(f"Interrupted at step {run.step:,}; the same command resumes (without --overwrite)")
        return TrainResult(run.path, run.step, None, signal)
    result = TrainResult(run.path, run.step, run.test_mse())
    limit = "all epochs done" if run.step >= run.last_step else "time limit reached"
    print(f"{limit}: step {run.step:,}, test mse {result.test_mse:.4f}, {run.path}")
    return result


class _WriterRun(Run):
    """All that a run carries from step to step."""

    def __init__(self, config: TrainConfig, digits: Digits, test_digits: Digits) -> None:
        self.config = config
        self.out, self.epochs, self.minutes = config.out, config.epochs, config.minutes
        self.path = config.out / CHECKPOINT_NAME
        self.device = pick_device(config.device)
        self.images = digits.images[: config.limit].to(self.device)
        self.labels = digits.labels[: config.limit]
        if not len(self.images) or not len(test_digits.images):
            raise ValueError(f"no digits to train on or to test with in {digits.source}")
        self.test_images = test_digits.images[: config.test_digits].to(self.device)
        self.test_labels = test_digits.labels[: config.test_digits]
        self.batches = Batches(len(self.labels), config.batch_size, (config.seed,), self.device)
        self.epoch_steps = len(self.batches)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = checkpoints.build(config.model_config()).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)
        checksum = zlib.crc32(digits.images[: config.limit].numpy().tobytes())
        checksum = zlib.crc32(self.labels.numpy().tobytes(), checksum)
        self.sources = {"digits": f"{len(self.images)} digits, checksum {checksum:08x}"}
        self.practice = None
        if config.samples is not None:
            samples = load_samples(config.samples, config.data_dir, self.model.config.points)
            self.practice = Practice(
                self.model, samples, config.batch_size, config.sample_lr, config.seed
            )
            self.sources["samples"] = samples.fingerprint()
        if config.renderer == "soft":
            self.draw = soft_renderer(config.composite)
        else:
            self.draw = line_model_renderer(config.line_model, config.composite, self.device)
            weights = checkpoints.load(config.line_model).weights
            self.sources["line_model"] = f"checksum {checkpoints.checksum(weights)}"
        self._tested: tuple[int, float] | None = None

    def advance(self) -> dict[str, Tensor]:
        """Practise on samples, if there are any, then do one step on digits."""
        config, losses = self.config, {}
        with self._seeded():
            if self.practice is not None:
                for number in range(0 if self.step == 0 else config.warm_up, config.warm_up):
                    self.practice.step(number)
                losses["mse/samples"] = self.practice.step(config.warm_up + self.step)
            here, there = self.batches.at(self.step)
            target = self.images[there].to(torch.float32)
            strokes = self.model(target, self.labels[here])
            canvas = self.draw(strokes)
            parts = {"mse/train": pixel_loss(canvas, target)}
            if config.length_weight:
                parts["loss/length"] = config.length_weight * length_loss(strokes)
            if config.turning_weight:
                parts["loss/turning"] = config.turning_weight * turning_loss(strokes)
            if config.blur:
                parts["loss/blurred"] = config.blur * blurred_loss(canvas, target)
            self.optimizer.zero_grad()
            sum(parts.values()).backward()
            self.optimizer.step()
        self.step += 1
        return {**parts, **losses}

    @torch.no_grad()
    def test_mse(self) -> float:
        """Pixel loss on the test digits with the weights as they are."""
        if self._tested is None or self._tested[0] != self.step:
            self.model.eval()
            total = torch.zeros((), dtype=torch.float64, device=self.device)
            for start in range(0, len(self.test_images), 250):
                target = self.test_images[start : start + 250].to(torch.float32)
                strokes = self.model(target, self.test_labels[start : start + 250])
                total += pixel_loss(self.draw(strokes), target) * len(target)
            self.model.train()
            self._tested = self.step, total.item() / len(self.test_images)
        return self._tested[1]

    def measure(self) -> dict[str, float]:
        """The loss that is compared between runs."""
        return {"mse/test": self.test_mse()}

    def save(self) -> None:
        """Write the checkpoint, unless it would hold numbers that are not finite."""
        weights = self.model.state_dict()
        optimizer = adam_tensors(self.model, self.optimizer)
        if self.practice is not None:
            optimizer |= adam_tensors(self.model, self.practice.optimizer, _PRACTICE)
        if not all(t.isfinite().all() for t in (*weights.values(), *optimizer.values())):
            raise self.not_finite("a weight or its moment is not finite", self.step)
        training = {
            "step": self.step,
            "elapsed": self.elapsed(),
            "options": {name: getattr(self.config, name) for name in _FIXED},
            **self.sources,
        }
        checkpoint = checkpoints.Checkpoint(self.model.config, weights, optimizer, training)
        checkpoints.save(self.path, checkpoint)

    def saved_step(self) -> int:
        """The step that the checkpoint is of."""
        return checkpoints.load(self.path).training["step"]

    def resume(self) -> None:
        """Take over the state of the checkpoint in the run's folder."""
        checkpoint = checkpoints.load(self.path)
        training = checkpoint.training
        try:
            self._check_same(training)
            self.model.load_state_dict(checkpoint.weights)
            self.step = int(training["step"])
            if self.step > 0:
                load_adam_tensors(self.model, self.optimizer, checkpoint.optimizer)
            if self.step > 0 and self.practice is not None:
                adam = self.practice.optimizer
                load_adam_tensors(self.model, adam, checkpoint.optimizer, _PRACTICE)
            self._elapsed_before = float(training["elapsed"])
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise checkpoints.CheckpointError(
                f"{self.path}: cannot be resumed ({reason})"
            ) from error

    def _check_same(self, training: dict[str, Any]) -> None:
        remedy = "give the same, another folder, or overwrite"
        # Runs that are older than an option were as its default is.
        theirs = {**dataclasses.asdict(TrainConfig().with_defaults()), **training["options"]}
        for name in _FIXED:
            ours = getattr(self.config, name)
            if theirs[name] != ours:
                held = f"{name} {theirs[name]}"
                raise ValueError(f"{self.out} holds a run with {held}, not {ours}; {remedy}")
        for name in ("digits", "samples", "line_model"):
            held, ours = (sources.get(name, "none") for sources in (training, self.sources))
            if held != ours:
                held = f"on other {name} ({held}, not {ours})"
                raise ValueError(f"{self.out} holds a run {held}; {remedy}")

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Let dropout depend on nothing but seed and step."""
        if not self.config.dropout:
            yield
            return
        seed = np.random.SeedSequence((self.config.seed, self.step)).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed[0]))
            yield
