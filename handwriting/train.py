"""Trains a writer or an ensemble on thinned digits, by what its drawings look like.

A run lives in one folder: checkpoint.safetensors and TensorBoard's event files. What a step does is
a function of (seed, step) and the weights, and the checkpoint holds all the rest, so a run that was
killed and resumed ends in the same weights, bit for bit, as one that was not. Going on is left to
`resuming.py`, digits to `data.py`, collected strokes to `practice.py`.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handwriting import checkpoint as checkpoints
from handwriting.data import Digits, Split, load_thinned
from handwriting.learner import PRECISIONS, Learner
from handwriting.losses import blurred_loss, length_loss, pixel_loss, turning_loss
from handwriting.mapped import EMNIST, MappedDigits, emnist_files, load_mapped
from handwriting.models.writer import WriterConfig
from handwriting.practice import Practice
from handwriting.renderers import RENDERERS, Renderer, line_model_renderer, soft_renderer
from handwriting.resuming import KeptRun, TrainResult, train_in_folder
from handwriting.running import Batches
from handwriting.samples import load_samples

# The post's, for options that are None.
_DEFAULTS = {"writer": {"units": 512, "lr": 5e-4}, "ensemble": {"units": 64, "lr": 1e-3}}

# See `TrainConfig.fixed`.
_FIXED = (
    *("model", "batch_size", "lr", "seed", "units", "limit", "composite", "dropout"),
    *("length_weight", "turning_weight", "blur", "renderer", "sample_lr", "warm_up"),
    *("lr_schedule", "precision", "sample_scale"),
)

# What the step sizes are multiplied with after a share of all steps, by name.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}

_HALVES: tuple[Split, ...] = ("train", "test")

# Before the names of the Adam that trains on samples, in a checkpoint.
_PRACTICE = "samples/"


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; the defaults are those of the post's first writer.

    Attributes:
        out: folder of the run, made if need be; one that holds a run is resumed.
        data_dir: folder of the MNIST files, None for what `data.load_thinned` finds.
        emnist: train and test on that set of EMNIST, from `data_dir`; None: on MNIST.
        images, labels: IDX files of digits to train on in place of those, as `load_mapped` takes
            them; neither they nor EMNIST's need fit in memory.
        model: "writer", one net for all digits, or "ensemble", one for each.
        epochs: passes over the digits.
        minutes: stop after so many minutes of training, resumed ones included; None: no limit.
        batch_size: digits in a step, of all processes together.
        accumulate: a process works on its digits of a step in so many parts, one after the other,
            and has the memory of one; but for rounding the result is the same.
        precision: "float32", or "bfloat16" for the nets' matrix products, with weights, points,
            canvases and losses in float32. What is measured is so in float32.
        lr: Adam's step size; None: the post's, 5e-4 for a writer, 1e-3 for an ensemble.
        lr_schedule: "constant", or "cosine": both Adams' step sizes fall along half a cosine, from
            what they are to 0 at the end of the last epoch, so a run goes on with the same epochs
            only. It counts steps, not time: where `minutes` end a run before, it has not ended.
        seed: of the first weights, of the order of the digits and of dropout.
        units: cells in each LSTM layer; None: the post's, 512 for a writer, 64 for an ensemble.
        dropout: share that is dropped of what the second and third layer get from the layer below.
            What is dropped depends on the number of processes and of parts, too.
        renderer: "soft" for softraster's lines, "line_model" for the neural one.
        line_model: file of the line model, with that renderer.
        composite: "sum" or "max" of the segments.
        length_weight: weight of `length_loss`. The post's is 0.01 where it has it.
        turning_weight: weight of `turning_loss`. The post's is 0.01 where it has it.
        blur: weight of `blurred_loss`; the post has none.
        samples: collected strokes to train on in between, as `load_samples` takes them; None: none.
        sample_lr: step size of the Adam that trains on samples.
        sample_scale: distance in pixels over which a sample hardly pulls, see `stroke_loss`; None:
            the squared error, the post's.
        warm_up: steps on samples alone before the first digits.
        limit: train on the first so many digits only; None: on all.
        save_every: seconds between checkpoints; an epoch's end saves one too.
        test_digits: the first so many test digits are measured after each epoch.
        device: "cpu", "cuda" or the like; None: CUDA if there is a device, else the CPU.
        overwrite: start over in a folder that holds a run.
    """

    out: Path = Path("runs/writer")
    data_dir: Path | None = None
    emnist: str | None = None
    images: Path | None = None
    labels: Path | None = None
    model: str = "writer"
    epochs: int = 5
    minutes: float | None = None
    batch_size: int = 64
    accumulate: int = 1
    precision: str = "float32"
    lr: float | None = None
    lr_schedule: str = "constant"
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
    sample_scale: float | None = None
    warm_up: int = 100
    limit: int | None = None
    save_every: float = 60.0
    test_digits: int = 1000
    device: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "units", "limit", "test_digits"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value}")
        for name in ("minutes", "lr", "save_every", "sample_lr", "sample_scale"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
        for name in ("length_weight", "turning_weight", "blur", "seed", "warm_up"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        named = {"model": _DEFAULTS, "renderer": RENDERERS, "lr_schedule": LR_SCHEDULES}
        named |= {"precision": PRECISIONS, "emnist": (*EMNIST, None)}
        for name, choices in named.items():
            if getattr(self, name) not in choices:
                known = " or ".join(filter(None, choices))
                raise ValueError(f"{name} must be {known}, got {getattr(self, name)!r}")
        if (self.images is None) != (self.labels is None):
            missing = "labels" if self.labels is None else "images"
            raise ValueError(f"images go with labels, got no {missing}")
        if (self.renderer == "line_model") != (self.line_model is not None):
            raise ValueError(
                "renderer line_model goes with a file as line_model, and no other does"
            )
        self.model_config()

    def with_defaults(self) -> TrainConfig:
        """The same with the post's values in place of None, where they depend on the model."""
        missing = {k: v for k, v in _DEFAULTS[self.model].items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)

    def fixed(self) -> dict[str, Any]:
        """The options that shape the weights, so that a resumed run must have the same."""
        # A cosine ends with the last epoch; else more epochs just go on.
        names = _FIXED if self.lr_schedule == "constant" else (*_FIXED, "epochs")
        return {name: getattr(self, name) for name in names}

    def model_config(self) -> WriterConfig:
        """What builds the model."""
        config_type = checkpoints.MODELS[self.model][1]
        units = self.units or _DEFAULTS[self.model]["units"]
        return config_type(units=units, composite=self.composite, dropout=self.dropout)


def train(config: TrainConfig) -> TrainResult:
    """Train a model, or go on with the run in the folder `config.out`.

    How it stops, and what is raised, is as `train_in_folder` says.

    Raises:
        OSError: also if the data cannot be read.
    """
    return train_in_folder(config.with_defaults(), _WriterRun)


class _WriterRun(KeptRun):
    """All that a run carries from step to step."""

    SOURCES = ("digits", "samples", "line_model")
    MANY = True

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config, config.model_config())
        with self.team.one_here_first():
            train, test = (self._load(half) for half in _HALVES)
        count = min(len(train), config.limit or len(train))
        if not count or not len(test):
            raise ValueError(f"no digits to train on or to test with in {train.source}")
        self.subject = f"the {config.model} on {count:,} digits ({train.source})"
        self.fixed = config.fixed()
        # Runs that are older than an option were as its default is.
        self.defaults = dataclasses.asdict(TrainConfig().with_defaults())
        checksum, self.digits = self._placed(train, count)
        self.sources = {"digits": f"{count} digits, checksum {checksum}"}
        images, self.test_labels = test.take(torch.arange(min(len(test), config.test_digits)))
        self.test_images = images.to(self.device)
        self.batches = Batches(count, config.batch_size, (config.seed,), self.device)
        self.epochs, self.epoch_steps = config.epochs, len(self.batches)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)
        self.optimizers, self.rates = {"": self.optimizer}, {"": config.lr}
        self.learner = Learner(self.model, config.accumulate, config.precision)
        self.practice = self._practice()
        self.draw = self._renderer()
        self._tested: tuple[int, float] | None = None

    def _load(self, half: Split) -> Digits | MappedDigits:
        config = self.config
        if half == "train" and config.images is not None:
            return load_mapped(config.images, config.labels)
        if config.emnist is not None:
            return load_mapped(*emnist_files(config.emnist, half, config.data_dir))
        return load_thinned(half, config.data_dir)

    def _placed(
        self, digits: Digits | MappedDigits, count: int
    ) -> tuple[str, Digits | MappedDigits]:
        """The checksum of the first `count` digits, and they, on the device if they are held."""
        if isinstance(digits, MappedDigits):
            return digits.checksum, digits
        images, labels = digits.images[:count], digits.labels[:count]
        checksum = zlib.crc32(labels.numpy().tobytes(), zlib.crc32(images.numpy().tobytes()))
        return f"{checksum:08x}", Digits(images.to(self.device), labels, digits.source)

    def _digits(self, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Images, float32 on the device, and labels of the digits at these places."""
        if isinstance(self.digits, MappedDigits):
            images, labels = self.digits.take(here)
            return images.to(self.device).to(torch.float32), labels
        return self.digits.images[there].to(torch.float32), self.digits.labels[here]

    def _practice(self) -> Practice | None:
        config = self.config
        if config.samples is None:
            return None
        samples = load_samples(config.samples, config.data_dir, self.model.config.points)
        practice = Practice(
            self.model,
            self.learner,
            samples,
            batch_size=config.batch_size,
            lr=config.sample_lr,
            seed=config.seed,
            scale=config.sample_scale,
        )
        self.optimizers[_PRACTICE], self.rates[_PRACTICE] = practice.optimizer, config.sample_lr
        self.sources["samples"] = samples.fingerprint()
        return practice

    def _renderer(self) -> Renderer:
        config = self.config
        if config.renderer == "soft":
            return soft_renderer(config.composite)
        weights = checkpoints.load(config.line_model).weights
        self.sources["line_model"] = f"checksum {checkpoints.checksum(weights)}"
        return line_model_renderer(config.line_model, config.composite, self.device)

    def advance(self) -> dict[str, Tensor]:
        """Practise on samples, if there are any, then do one step on digits."""
        config, losses = self.config, {}
        self._set_step_sizes()
        with self._seeded():
            if self.practice is not None:
                for number in range(0 if self.step == 0 else config.warm_up, config.warm_up):
                    self.practice.step(number)
                losses["loss/samples"] = self.practice.step(config.warm_up + self.step)
            here, there = self.batches.at(self.step)
            self.optimizer.zero_grad()
            parts = self.learner.backward(len(here), lambda p: self._losses(here[p], there[p]))
            self.optimizer.step()
        self.step += 1
        return {**parts, **losses}

    def _losses(self, here: Tensor, there: Tensor) -> dict[str, Tensor]:
        """The losses of the digits at these places, given on the CPU and on the device."""
        config = self.config
        target, labels = self._digits(here, there)
        strokes = self.learner(target, labels)
        canvas = self.draw(strokes)
        parts = {"mse/train": pixel_loss(canvas, target)}
        if config.length_weight:
            parts["loss/length"] = config.length_weight * length_loss(strokes)
        if config.turning_weight:
            parts["loss/turning"] = config.turning_weight * turning_loss(strokes)
        if config.blur:
            parts["loss/blurred"] = config.blur * blurred_loss(canvas, target)
        return parts

    def _set_step_sizes(self) -> None:
        factor = LR_SCHEDULES[self.config.lr_schedule](self.step / self.last_step)
        for prefix, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * self.rates[prefix]

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Pixel loss on the test digits."""
        if self._tested is None or self._tested[0] != self.step:
            self.model.eval()
            total = torch.zeros((), dtype=torch.float64, device=self.device)
            for start in range(0, len(self.test_images), 250):
                target = self.test_images[start : start + 250].to(torch.float32)
                strokes = self.model(target, self.test_labels[start : start + 250])
                total += pixel_loss(self.draw(strokes), target) * len(target)
            self.model.train()
            self._tested = self.step, total.item() / len(self.test_images)
        return {"mse/test": self._tested[1]}

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Let dropout depend on nothing but seed, step and rank."""
        if not self.config.dropout:
            yield
            return
        rank = () if self.team.first else (self.team.rank,)
        facts = self.config.seed, self.step, *rank
        seed = np.random.SeedSequence(facts).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed[0]))
            yield
