"""Trains a writer on thinned digits: the loop, its log, and how a run stops and goes on.

A run lives in one folder: checkpoint.safetensors and TensorBoard's event files. The batches are a
function of (seed, step) alone and the checkpoint holds all the rest, so a run that was killed and
resumed ends in the same weights, bit for bit, as one that was not. Files are left to
`checkpoint.py`, digits to `data.py`.
"""

from __future__ import annotations

import math
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting import checkpoint as checkpoints
from handwriting._extras import require
from handwriting.data import Digits, load_thinned
from handwriting.losses import pixel_loss
from handwriting.models.writer import IMAGE_SIZE, Writer, WriterConfig

CHECKPOINT_NAME = "checkpoint.safetensors"

# Options that shape the weights, so that a resumed run must have the same.
_FIXED = ("batch_size", "lr", "seed", "units", "limit")

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; the defaults are the post's.

    Attributes:
        out: folder of the run, made if need be; one that holds a run is resumed.
        data_dir: folder of the MNIST files, None for what `data.load_thinned` finds.
        epochs: passes over the digits.
        minutes: stop after so many minutes of training, resumed ones included; None: no limit.
        batch_size: digits in a step.
        lr: Adam's step size.
        seed: of the first weights and of the order of the digits.
        units: cells in each LSTM layer.
        limit: train on the first so many digits only; None: on all.
        save_every: seconds between checkpoints; an epoch's end saves one too.
        test_digits: the first so many test digits are measured after each epoch.
        device: "cpu", "cuda" or the like; None: CUDA if there is a device, else the CPU.
        overwrite: start over in a folder that holds a run.
    """

    out: Path = Path("runs/writer")
    data_dir: Path | None = None
    epochs: int = 5
    minutes: float | None = None
    batch_size: int = 64
    lr: float = 5e-4
    seed: int = 0
    units: int = 512
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
        for name in ("minutes", "lr", "save_every"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


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
    """Train a writer, or go on with the run in the folder `config.out`.

    Stops after the last epoch, at the time limit, or at Ctrl-C or SIGTERM; always with a checkpoint
    from which the same call goes on. Shows a progress bar on a terminal, prints a line per epoch.

    Raises:
        ValueError: the folder holds a run with other options, or its checkpoint is damaged; or the
            device does not exist.
        FloatingPointError: the loss or a weight is not finite; the last checkpoint is kept.
        OSError: the data cannot be read or the folder cannot be written.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    digits, test_digits = (load_thinned(split, config.data_dir) for split in ("train", "test"))
    run = _Run(config, digits, test_digits)
    if run.path.exists() and not config.overwrite:
        run.resume()
        print(f"Resuming {config.out} at step {run.step:,} of {run.last_step:,}")
    else:
        run.save()
        print(f"Training in {config.out} on {len(run.images):,} digits ({digits.source})")
    # What was logged after the checkpoint will be logged again; readers drop the first version.
    summary_writer = require("torch.utils.tensorboard").SummaryWriter
    with summary_writer(str(config.out), purge_step=run.step + 1) as log, _signals() as caught:
        _loop(run, log, caught)
    if caught:
        print(f"Interrupted at step {run.step:,}; the same command resumes (without --overwrite)")
        return TrainResult(run.path, run.step, None, caught[0])
    result = TrainResult(run.path, run.step, run.test_mse())
    limit = "all epochs done" if run.step >= run.last_step else "time limit reached"
    print(f"{limit}: step {run.step:,}, test mse {result.test_mse:.4f}, {run.path}")
    return result


def _loop(run: _Run, log: Any, caught: list[int]) -> None:
    """Train until a limit or a signal, and leave a checkpoint of where it stopped."""
    config = run.config
    mean = math.nan
    saved = time.monotonic()
    run.start_clock()
    with require("tqdm").tqdm(
        total=run.last_step, initial=run.step, unit="step", disable=None, dynamic_ncols=True
    ) as bar:
        while run.step < run.last_step and not run.time_is_up() and not caught:
            loss = run.advance()
            mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
            log.add_scalar("mse/train", loss, run.step)
            bar.set_postfix_str(f"mse {mean:.4f}", refresh=False)
            bar.update()
            epoch, rest = divmod(run.step, run.batches)
            if rest == 0:
                log.add_scalar("mse/test", run.test_mse(), run.step)
                bar.write(
                    f"epoch {epoch} of {config.epochs}: mse {mean:.4f} train, "
                    f"{run.test_mse():.4f} test, {run.elapsed() / 60:.1f} minutes"
                )
            if rest == 0 or time.monotonic() - saved > config.save_every:
                # The log first: a checkpoint must not be ahead of it.
                log.flush()
                run.save()
                saved = time.monotonic()
        log.flush()
        run.save()


class _Run:
    """All that a run carries from step to step; `step` counts the steps done."""

    def __init__(self, config: TrainConfig, digits: Digits, test_digits: Digits) -> None:
        self.config = config
        self.path = config.out / CHECKPOINT_NAME
        self.device = _device(config.device)
        self.images = digits.images[: config.limit].to(self.device)
        self.labels = digits.labels[: config.limit].to(self.device)
        if not len(self.images) or not len(test_digits.images):
            raise ValueError(f"no digits to train on or to test with in {digits.source}")
        self.test_images = test_digits.images[: config.test_digits].to(self.device)
        self.test_labels = test_digits.labels[: config.test_digits].to(self.device)
        checksum = zlib.crc32(self.images.cpu().numpy().tobytes())
        checksum = zlib.crc32(self.labels.cpu().numpy().tobytes(), checksum)
        self.fingerprint = f"{len(self.images)} digits, checksum {checksum:08x}"
        self.batches = math.ceil(len(self.images) / config.batch_size)
        self.last_step = config.epochs * self.batches
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.writer = Writer(WriterConfig(units=config.units)).to(self.device)
        self.optimizer = torch.optim.Adam(self.writer.parameters(), config.lr, fused=True)
        self.step = 0
        self._elapsed_before = 0.0
        self._clock: float | None = None
        self._order: tuple[int, Tensor] | None = None
        self._tested: tuple[int, float] | None = None

    def start_clock(self) -> None:
        """Training time counts from here."""
        self._clock = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training, those before the run was resumed included."""
        now = 0.0 if self._clock is None else time.monotonic() - self._clock
        return self._elapsed_before + now

    def time_is_up(self) -> bool:
        """True when minutes have passed."""
        limit = self.config.minutes
        return limit is not None and self.elapsed() >= 60 * limit

    def advance(self) -> float:
        """Do one step; return the loss before it."""
        images, labels = self._batch()
        loss = self._loss(images, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(self._not_finite(f"the loss is {value}"))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return value

    @torch.no_grad()
    def test_mse(self) -> float:
        """Pixel loss on the test digits with the weights as they are."""
        if self._tested is None or self._tested[0] != self.step:
            total = 0.0
            for start in range(0, len(self.test_images), 250):
                images = self.test_images[start : start + 250]
                loss = self._loss(images, self.test_labels[start : start + 250])
                total += loss.item() * len(images)
            self._tested = self.step, total / len(self.test_images)
        return self._tested[1]

    def save(self) -> None:
        """Write the checkpoint, unless it would hold numbers that are not finite."""
        names = [name for name, _ in self.writer.named_parameters()]
        optimizer = {
            f"{names[index]}/{key}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }
        weights = self.writer.state_dict()
        if not all(t.isfinite().all() for t in (*weights.values(), *optimizer.values())):
            raise FloatingPointError(self._not_finite("a weight or its moment is not finite"))
        training = {
            "step": self.step,
            "elapsed": self.elapsed(),
            "options": self._options(),
            "digits": self.fingerprint,
        }
        checkpoint = checkpoints.Checkpoint(self.writer.config, weights, optimizer, training)
        checkpoints.save(self.path, checkpoint)

    def resume(self) -> None:
        """Take over the state of the checkpoint in the run's folder."""
        checkpoint = checkpoints.load(self.path)
        training = checkpoint.training
        try:
            self._check_same(training["options"], training["digits"])
            self.writer.load_state_dict(checkpoint.weights)
            state = self.optimizer.state_dict()
            if training["step"] > 0:
                state["state"] = {
                    index: {key: checkpoint.optimizer[f"{name}/{key}"] for key in _ADAM_STATE}
                    for index, (name, _) in enumerate(self.writer.named_parameters())
                }
            self.optimizer.load_state_dict(state)
            self.step = int(training["step"])
            self._elapsed_before = float(training["elapsed"])
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise checkpoints.CheckpointError(
                f"{self.path}: cannot be resumed ({reason})"
            ) from error

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The digits of the next step: epoch e goes through a permutation that (seed, e) gives."""
        epoch, position = divmod(self.step, self.batches)
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng((self.config.seed, epoch))
            order = torch.from_numpy(random.permutation(len(self.images)))
            self._order = epoch, order.to(self.device)
        size = self.config.batch_size
        which = self._order[1][position * size : (position + 1) * size]
        return self.images[which], self.labels[which]

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        target = images.to(torch.float32)
        strokes = self.writer(target, labels)
        return pixel_loss(softraster.draw_strokes(strokes, IMAGE_SIZE), target)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self.config, name) for name in _FIXED}

    def _check_same(self, options: dict[str, Any], digits: str) -> None:
        remedy = "give the same, another folder, or overwrite"
        for name, value in self._options().items():
            if options[name] != value:
                theirs = f"{name} {options[name]}"
                raise ValueError(
                    f"{self.config.out} holds a run with {theirs}, not {value}; {remedy}"
                )
        if digits != self.fingerprint:
            theirs = f"on other digits ({digits}, not {self.fingerprint})"
            raise ValueError(f"{self.config.out} holds a run {theirs}; {remedy}")

    def _not_finite(self, what: str) -> str:
        saved = checkpoints.load(self.path).training["step"]
        return (
            f"{what} after step {self.step}; {self.path} keeps the weights of step {saved}, "
            "a smaller lr may help"
        )


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here") from error
    return device


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list it gives; a second one acts as if uncaught."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # Python lets only the main thread handle signals
        return
    previous: dict[int, Any] = {}

    def catch(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
