"""Trains the neural line model on random lines.

A run is a function of its seed. How it goes on where it stopped is left to `resuming.py`, lines to
`lines.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from handwriting.learner import Learner
from handwriting.lines import draw_lines, line_batches
from handwriting.models.line_model import LineModel, LineModelConfig
from handwriting.resuming import KeptRun, TrainResult, train_in_folder

EPOCH_STEPS = 1000  # steps after which it is measured; no line comes twice

# Beyond the seeds that a run may have, so that no run trains on the lines it is measured on.
_MAX_SEED = 2**32 - 1
_TEST_SEED = 2**32
_TEST_LINES = 1000

# Options that shape the weights, so that a resumed run must have the same.
_FIXED = ("batch_size", "lr", "seed")


@dataclass(frozen=True)
class LineTrainConfig:
    """Options of a run; the number of images is the post's.

    Attributes:
        out: folder of the run, made if need be; one that holds a run is resumed.
        images: images of lines to train on, none of them twice.
        minutes: stop after so many minutes of training, resumed ones included; None: no limit.
        batch_size: images in a step, of all processes together.
        lr: Adam's step size. Squared error on new lines after 750 steps: 0.0117 from 5e-4, 0.0106
            from 1e-3, 0.0098 from 2e-3.
        seed: of the first weights and of the lines.
        workers: processes that draw lines ahead, for each that trains; 0 draws between the steps.
            The result is the same.
        save_every: seconds between checkpoints; so do EPOCH_STEPS steps.
        device: "cpu", "cuda" or the like; None: CUDA if there is a device, else the CPU.
        overwrite: start over in a folder that holds a run.
    """

    out: Path = Path("runs/line_model")
    images: int = 1_600_000
    minutes: float | None = None
    batch_size: int = 64
    lr: float = 1e-3
    seed: int = 0
    workers: int = 2
    save_every: float = 60.0
    device: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("batch_size", 1), ("workers", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value}")
        if self.seed > _MAX_SEED:
            raise ValueError(f"seed must be at most {_MAX_SEED}, got {self.seed}")
        for name in ("minutes", "lr", "save_every"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be greater than 0 and finite, got {value}")


def train_line_model(config: LineTrainConfig) -> TrainResult:
    """Train a line model, or go on with the run in the folder `config.out`.

    Minimises the cross entropy of the pixels. The squared error, which the post names for its
    writer, falls more slowly here (after 1000 steps 0.0104 instead of 0.0097), and from
    TensorFlow's start not at all within the first 87,000 images: few pixels are ink, and the
    sigmoid saturates at none.

    Stops after the last image, or as `train_in_folder` says; that raises what this one raises.
    """
    return train_in_folder(config, _LineRun)


class _Logits(nn.Module):
    """Calls a line model for the logits of its pixels."""

    def __init__(self, model: LineModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, segments: Tensor) -> Tensor:
        return self.model.logits(segments)


class _LineRun(KeptRun):
    """All that a run carries from step to step."""

    MANY = True

    def __init__(self, config: LineTrainConfig) -> None:
        super().__init__(config, LineModelConfig())
        self.subject = f"the line model on {config.images:,} lines"
        self.fixed = {name: getattr(config, name) for name in _FIXED}
        self.epoch_steps = EPOCH_STEPS
        self.epochs = math.ceil(self.last_step / EPOCH_STEPS)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)
        self.optimizers = {"": self.optimizer}
        self.learner = Learner(_Logits(self.model))

    @property
    def last_step(self) -> int:
        """The step after which the run is done."""
        return math.ceil(self.config.images / self.config.batch_size)

    @contextmanager
    def supplied(self) -> Iterator[None]:
        """Have the lines of the next steps drawn ahead."""
        config, steps = self.config, range(self.step, self.last_step)
        self._part = self.learner.part(config.batch_size)
        lines = line_batches(config.seed, steps, config.batch_size, config.workers, self._part)
        with closing(lines):
            self._lines = lines
            yield

    def advance(self) -> dict[str, Tensor]:
        """Do one step."""
        segments, images = (tensor.to(self.device) for tensor in next(self._lines))

        def losses(part: slice) -> dict[str, Tensor]:
            here = slice(part.start - self._part.start, part.stop - self._part.start)
            logits, wanted = self.learner(segments[here]), images[here].to(torch.float32)
            return {"loss/train": binary_cross_entropy_with_logits(logits, wanted)}

        self.optimizer.zero_grad()
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):
            loss = self.learner.backward(self.config.batch_size, losses)
        self.optimizer.step()
        self.step += 1
        return loss

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Mean squared error on lines that no run trains on."""
        segments, images = draw_lines(_TEST_SEED, 0, _TEST_LINES)
        lines = self.model(segments.to(self.device))
        return {"mse/test": (lines - images.to(self.device)).square().mean().item()}
