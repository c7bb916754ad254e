"""Trains the neural line model on random lines.

A run lives in one folder, is a function of its seed, and goes on where it stopped, as those of
`train.py`. The loop is left to `running.py`, lines to `lines.py`, files to `checkpoint.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from handwriting import checkpoint as checkpoints
from handwriting.lines import draw_lines, line_batches
from handwriting.models.line_model import LineModelConfig
from handwriting.running import Run, adam_tensors, go, load_adam_tensors, pick_device
from handwriting.train import CHECKPOINT_NAME

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
        batch_size: images in a step.
        lr: Adam's step size. Squared error on new lines after 750 steps: 0.0117 from 5e-4, 0.0106
            from 1e-3, 0.0098 from 2e-3.
        seed: of the first weights and of the lines.
        workers: processes that draw lines ahead; 0 draws between the steps. The result is the same.
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


@dataclass(frozen=True)
class LineTrainResult:
    """How a run stood when it stopped.

    Attributes:
        path: its checkpoint.
        step: steps done since the run began, resumed ones included.
        test_mse: mean squared error on lines it did not train on; None if it was interrupted.
        signal: number of the signal that interrupted it, or None.
    """

    path: Path
    step: int
    test_mse: float | None
    signal: int | None = None


def train_line_model(config: LineTrainConfig) -> LineTrainResult:
    """Train a line model, or go on with the run in the folder `config.out`.

    Minimises the cross entropy of the pixels. The squared error, which the post names for its
    writer, falls more slowly here (after 1000 steps 0.0104 instead of 0.0097), and from
    TensorFlow's start not at all within the first 87,000 images: few pixels are ink, and the
    sigmoid saturates at none.

    Stops after the last image, at the time limit, or at Ctrl-C or SIGTERM; always with a checkpoint
    from which the same call goes on.

    Raises:
        ValueError: the folder holds a run with other options, or its checkpoint is damaged; or the
            device does not exist.
        FloatingPointError: the loss or a weight is not finite; the last checkpoint is kept.
        OSError: the folder cannot be written.
        ImportError: OpenCV is not installed.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    run = _LineRun(config)
    if run.path.exists() and not config.overwrite:
        run.resume()
        print(f"Resuming {config.out} at step {run.step:,} of {run.last_step:,}")
    else:
        run.save()
        print(f"Training a line model in {config.out} on {config.images:,} lines")
    steps = range(run.step, run.last_step)
    with closing(line_batches(config.seed, steps, config.batch_size, config.workers)) as lines:
        run.lines = lines
        signal = go(run, config.save_every)
    if signal is not None:
        print(f"Interrupted at step {run.step:,}; the same command resumes (without --overwrite)")
        return LineTrainResult(run.path, run.step, None, signal)
    result = LineTrainResult(run.path, run.step, run.test_mse())
    limit = "all lines done" if run.step >= run.last_step else "time limit reached"
    print(f"{limit}: step {run.step:,}, test mse {result.test_mse:.4f}, {run.path}")
    return result


class _LineRun(Run):
    """All that a run carries from step to step; `lines` are the batches from `step` on."""

    lines: Iterator[tuple[Tensor, Tensor]]

    def __init__(self, config: LineTrainConfig) -> None:
        self.config = config
        self.out, self.minutes = config.out, config.minutes
        self.path = config.out / CHECKPOINT_NAME
        self.epoch_steps = EPOCH_STEPS
        self.epochs = math.ceil(self.last_step / EPOCH_STEPS)
        self.device = pick_device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = checkpoints.build(LineModelConfig()).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.lr, fused=True)

    @property
    def last_step(self) -> int:
        """The step after which the run is done."""
        return math.ceil(self.config.images / self.config.batch_size)

    def advance(self) -> dict[str, Tensor]:
        """Do one step."""
        segments, images = (tensor.to(self.device) for tensor in next(self.lines))
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):
            logits = self.model.logits(segments)
            loss = binary_cross_entropy_with_logits(logits, images.to(torch.float32))
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        self.step += 1
        return {"loss/train": loss}

    @torch.no_grad()
    def test_mse(self) -> float:
        """Mean squared error on lines that no run trains on, with the weights as they are."""
        segments, images = draw_lines(_TEST_SEED, 0, _TEST_LINES)
        lines = self.model(segments.to(self.device))
        return (lines - images.to(self.device)).square().mean().item()

    def measure(self) -> dict[str, float]:
        """The error that is compared between runs."""
        return {"mse/test": self.test_mse()}

    def save(self) -> None:
        """Write the checkpoint, unless it would hold numbers that are not finite."""
        weights = self.model.state_dict()
        optimizer = adam_tensors(self.model, self.optimizer)
        if not all(t.isfinite().all() for t in (*weights.values(), *optimizer.values())):
            raise self.not_finite("a weight or its moment is not finite", self.step)
        training = {
            "step": self.step,
            "elapsed": self.elapsed(),
            "options": {name: getattr(self.config, name) for name in _FIXED},
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
            for name in _FIXED:
                held, ours = training["options"][name], getattr(self.config, name)
                if held != ours:
                    raise ValueError(
                        f"{self.out} holds a run with {name} {held}, not {ours}; "
                        "give the same, another folder, or overwrite"
                    )
            self.model.load_state_dict(checkpoint.weights)
            self.step = int(training["step"])
            if self.step > 0:
                load_adam_tensors(self.model, self.optimizer, checkpoint.optimizer)
            self._elapsed_before = float(training["elapsed"])
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise checkpoints.CheckpointError(
                f"{self.path}: cannot be resumed ({reason})"
            ) from error
