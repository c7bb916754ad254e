"""Trains a pen on strings laid out from exported digits.

A run is a function of its seed. How it goes on where it stopped is left to `resuming.py`, strings
to `layout.py`, digits to `donors.py`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from handwriting.donors import Donors, prepare, usable
from handwriting.formats import load_strokes
from handwriting.layout import ALPHABET, Hand, Writing, lay_out, random_text
from handwriting.models.pen import DOWN, END, LIFT, PenConfig, inputs, one_thread, pen_loss
from handwriting.resuming import KeptRun, TrainResult, train_in_folder

EPOCH_STEPS = 250  # steps after which it is measured; no string comes twice

# Beyond the seeds that a run may have, so that no run trains on the strings it is measured on.
_MAX_SEED = 2**32 - 1
_TEST_SEED = 2**32
_TEST_BATCHES = 4
# Digits kept to measure with: the last ones, by writers that none of the others is by.
_TEST_SHARE = 0.03

# The characters that points belong to are known, so the attention is told where to be. Graves's has
# to find out.
_ATTENTION_WEIGHT = 0.5
_WARM_UP = 100  # steps until the step size is whole
_MAX_NORM = 1.0  # of the gradient

# Options that shape the weights, so that a resumed run must have the same.
_FIXED = ("steps", "characters", "longest", "units", "lr", "seed")


@dataclass(frozen=True)
class PenTrainConfig:
    """Options of a run.

    Attributes:
        strokes: a file that `export` wrote, with training digits of MNIST.
        out: folder of the run, made if need be; one that holds a run is resumed.
        steps: of training.
        minutes: stop after so many minutes of training, resumed ones included; None: no limit. The
            step size will then not have come down.
        characters: in a step: a batch is so many strings of one length that they have about these.
        longest: characters in a string at most.
        units: cells in each LSTM layer.
        lr: Adam's largest step size; it falls along a cosine, to 0 after the last step.
        seed: of the first weights and of the strings.
        save_every: seconds between checkpoints; so do EPOCH_STEPS steps.
        device: "cpu", "cuda" or the like; None: CUDA if there is a device, else the CPU.
        overwrite: start over in a folder that holds a run.
    """

    strokes: Path
    out: Path = Path("runs/pen")
    steps: int = 4200
    minutes: float | None = None
    characters: int = 128
    longest: int = 12
    units: int = 192
    lr: float = 2e-3
    seed: int = 0
    save_every: float = 60.0
    device: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        least = {"steps": 1, "characters": 1, "longest": 1, "units": 1, "seed": 0}
        for name, at_least in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < at_least:
                raise ValueError(f"{name} must be an integer of at least {at_least}, got {value}")
        if self.seed > _MAX_SEED:
            raise ValueError(f"seed must be at most {_MAX_SEED}, got {self.seed}")
        for name in ("minutes", "lr", "save_every"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be greater than 0 and finite, got {value}")


def train_pen(config: PenTrainConfig) -> TrainResult:
    """Train a pen, or go on with the run in the folder `config.out`.

    Stops after the last step, or as `train_in_folder` says; that raises what this one raises.

    Returns:
        How it stood. What it measures are the negative log-likelihood of a point, in nats with
        lengths in quarters of a digit's height, and that of the attention to its character; on
        strings of digits that it does not train on.
    """
    with one_thread():
        return train_in_folder(config, _PenRun)


def training_donors(path: Path | str) -> Donors:
    """The digits of a file of strokes that a pen learns from, by `donors.usable`.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    drawn = load_strokes(path)
    drawn = drawn.select(usable(drawn))
    return prepare(drawn.strokes, drawn.label, drawn.index)


class Batch(NamedTuple):
    """T points of B strings of up to U characters.

    Attributes:
        points: (T, B, INPUTS) what the pen is told.
        text: (B, U) indices into ALPHABET, -1 beyond a string's end.
        steps: (T, B, 2) to the next point.
        pen: (T, B) what the pen does there.
        characters: (T, B) which character that is of.
        real: (T, B) bool, False beyond a string's last point.
    """

    points: Tensor
    text: Tensor
    steps: Tensor
    pen: Tensor
    characters: Tensor
    real: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


def as_batch(writings: list[Writing]) -> Batch:
    """What a pen learns from strings."""
    longest = max(len(writing.strokes) for writing in writings)
    width = max(len(writing.text) for writing in writings)
    strokes = torch.zeros(len(writings), longest, 3)
    text = torch.full((len(writings), width), -1)
    characters = torch.zeros(len(writings), longest, dtype=torch.long)
    counts = torch.tensor([len(writing.strokes) for writing in writings])
    for row, writing in enumerate(writings):
        strokes[row, : counts[row]] = torch.from_numpy(writing.strokes)
        characters[row, : counts[row]] = torch.from_numpy(writing.characters)
        indices = [ALPHABET.index(character) for character in writing.text]
        text[row, : len(indices)] = torch.tensor(indices)
    told = inputs(strokes)
    real = torch.arange(longest) < counts[:, None]
    pen = torch.where(strokes[..., 2] > 0.5, LIFT, DOWN)
    pen[torch.arange(len(writings)), counts - 1] = END
    parts = told[:, :-1], told[:, 1:, :2], pen, characters, real
    points, steps, pen, characters, real = (part.transpose(0, 1).contiguous() for part in parts)
    return Batch(points, text, steps, pen, characters, real)


def draw_strings(
    donors: Donors, seed: int, step: int, characters: int, longest: int
) -> list[Writing]:
    """Lay out a step's strings; those of one step are about equally long.

    Args:
        donors: digits of MNIST's training set.
        seed: at least 0.
        step: at least 0; each gives other strings.
        characters: in all strings together, about.
        longest: characters in a string at most.
    """
    random = np.random.default_rng((seed, step))
    length = int(random.integers(1, longest + 1))
    texts = (random_text(random, length) for _ in range(max(1, characters // length)))
    return [draw_string(donors, text, random) for text in texts]


def draw_string(donors: Donors, text: str, random: np.random.Generator) -> Writing:
    """Lay out a text from digits of MNIST's training set that are, most likely, of one writer."""
    centre = int(random.integers(len(donors.labels)))
    hand = Hand.draw(random, donors.hand_slants[centre])
    return lay_out(text, donors, lambda n: donors.neighbour(centre, n, random), hand, random)


class _PenRun(KeptRun):
    """All that a run carries from step to step."""

    SOURCES: ClassVar[tuple[str, ...]] = ("strokes",)
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: PenTrainConfig) -> None:
        super().__init__(config, PenConfig(units=config.units))
        donors = training_donors(config.strokes)
        numbers = np.arange(len(donors.labels))
        cut = round(len(numbers) * (1 - _TEST_SHARE))
        self.donors, self.test_donors = donors.select(numbers < cut), donors.select(numbers >= cut)
        for part in (self.donors, self.test_donors):
            if not part.complete():
                raise ValueError(
                    f"{config.strokes}: has too few usable training digits ({len(numbers):,})"
                )
        self.subject = f"a pen on {cut:,} digits"
        self.fixed = {name: getattr(config, name) for name in _FIXED}
        checksum = zlib.crc32(donors.points.tobytes())
        self.sources = {"strokes": f"{len(numbers)} digits, checksum {checksum:08x}"}
        self.epoch_steps = EPOCH_STEPS
        self.epochs = math.ceil(config.steps / EPOCH_STEPS)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)
        self.optimizers = {"": self.optimizer}

    @property
    def last_step(self) -> int:
        """The step after which the run is done."""
        return self.config.steps

    def advance(self) -> dict[str, Tensor]:
        """Do one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * _share(self.step, self.last_step)
        losses = self._losses(self.donors, self.config.seed, self.step)
        self.optimizer.zero_grad()
        (losses["nats/train"] + _ATTENTION_WEIGHT * losses["attention/train"]).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_NORM)
        self.optimizer.step()
        self.step += 1
        return losses

    def _losses(self, donors: Donors, seed: int, step: int) -> dict[str, Tensor]:
        config = self.config
        strings = draw_strings(donors, seed, step, config.characters, config.longest)
        batch = as_batch(strings).to(self.device)
        outputs, _ = self.model(batch.points, batch.text)
        nats = pen_loss(outputs, batch.steps, batch.pen)[batch.real].mean()
        attention = nll_loss(outputs.attention[batch.real], batch.characters[batch.real])
        return {"nats/train": nats, "attention/train": attention}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Losses on strings of the digits that it does not train on."""
        total: dict[str, float] = {}
        for step in range(_TEST_BATCHES):
            for tag, loss in self._losses(self.test_donors, _TEST_SEED, step).items():
                name = tag.replace("train", "test")
                total[name] = total.get(name, 0.0) + loss.item() / _TEST_BATCHES
        return total


def _share(step: int, last: int) -> float:
    """Of the largest step size: up to it within _WARM_UP steps, then down along a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / last)) / 2
