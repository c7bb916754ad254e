"""How a training run goes: its steps, its log, its clock, and how it stops.

What a step does is left to the run, such as those of `train.py`, its checkpoint to `resuming.py`.
"""

from __future__ import annotations

import abc
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from handwriting._extras import require

# Losses are fetched from the device once in so many steps: each fetch waits for the device.
FETCH_EVERY = 16

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class Batches:
    """Which items a step is on: each epoch goes through all, in an order of its own."""

    def __init__(self, count: int, size: int, seed: tuple[int, ...], device: torch.device) -> None:
        """
        Args:
            count: of items.
            size: items in a step; the last step of an epoch has the rest.
            seed: epoch e's order is a function of (*seed, e) alone.
            device: where the items are.
        """
        self.count, self.size, self.seed, self.device = count, size, seed, device
        self._epoch: int | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return math.ceil(self.count / self.size)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Places of the items of `step`, counted from 0: on the CPU, and the same on the device."""
        epoch, position = divmod(step, len(self))
        if epoch != self._epoch:
            random = np.random.default_rng((*self.seed, epoch))
            self._here = torch.from_numpy(random.permutation(self.count))
            self._there = self._here.to(self.device)
            self._epoch = epoch
        part = slice(position * self.size, (position + 1) * self.size)
        return self._here[part], self._there[part]


class Run(abc.ABC):
    """What `go` asks of a run.

    Attributes:
        out: folder of the run, for the log.
        path: its checkpoint.
        step: steps done since the run began, resumed ones included.
        epoch_steps: steps in an epoch.
        epochs: epochs after which it ends.
        minutes: time of training after which it stops, resumed ones included; None: no limit.
    """

    out: Path
    path: Path
    epoch_steps: int
    epochs: int
    minutes: float | None
    step: int = 0
    _elapsed_before: float = 0.0
    _clock: float | None = None

    @property
    def last_step(self) -> int:
        """The step after which the run is done."""
        return self.epochs * self.epoch_steps

    def start_clock(self) -> None:
        """Training time counts from here."""
        self._clock = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training, those before the run was resumed included."""
        now = 0.0 if self._clock is None else time.monotonic() - self._clock
        return self._elapsed_before + now

    def time_is_up(self) -> bool:
        """True when minutes have passed."""
        return self.minutes is not None and self.elapsed() >= 60 * self.minutes

    @abc.abstractmethod
    def advance(self) -> dict[str, Tensor]:
        """Do one step; return what the log shall say of it by tag, scalars on any device."""

    @abc.abstractmethod
    def measure(self) -> dict[str, float]:
        """What the log shall say at an epoch's end, by tag."""

    @abc.abstractmethod
    def save(self) -> None:
        """Write the checkpoint."""

    @abc.abstractmethod
    def saved_step(self) -> int:
        """The step that the checkpoint is of."""

    def not_finite(self, what: str, step: int) -> FloatingPointError:
        """The error to raise when numbers after `step` are not finite."""
        return FloatingPointError(
            f"{what} after step {step}; {self.path} keeps the weights of step {self.saved_step()}, "
            "a smaller lr may help"
        )


def go(run: Run, save_every: float) -> int | None:
    """Train until the run is done, its time is up or a signal comes; leave a checkpoint of that.

    Shows a progress bar on a terminal and prints a line per epoch; logs for TensorBoard in run.out.

    Args:
        run: where to go on from.
        save_every: seconds between checkpoints; an epoch's end saves one too.

    Returns:
        Number of the signal, SIGINT or SIGTERM, that stopped it, or None.

    Raises:
        FloatingPointError: a loss is not finite; the last checkpoint is kept.
    """
    summary_writer = require("torch.utils.tensorboard").SummaryWriter
    # What was logged after the checkpoint will be logged again; readers drop the first version.
    with (
        summary_writer(str(run.out), purge_step=run.step + 1) as log,
        _signals() as caught,
        require("tqdm").tqdm(
            total=run.last_step, initial=run.step, unit="step", disable=None, dynamic_ncols=True
        ) as bar,
    ):
        losses = _Losses(run, log)
        saved = time.monotonic()
        run.start_clock()
        while run.step < run.last_step and not run.time_is_up() and not caught:
            losses.add(run.advance())
            bar.set_postfix_str(losses.summary(), refresh=False)
            bar.update()
            epoch, rest = divmod(run.step, run.epoch_steps)
            if rest == 0:
                losses.fetch()
                measured = run.measure()
                for tag, value in measured.items():
                    log.add_scalar(tag, value, run.step)
                said = "".join(f", {tag} {value:.4f}" for tag, value in measured.items())
                bar.write(
                    f"epoch {epoch} of {run.epochs}: {losses.summary()}{said}, "
                    f"{run.elapsed() / 60:.1f} minutes"
                )
            if rest == 0 or time.monotonic() - saved > save_every:
                # The log first: a checkpoint must not be ahead of it.
                losses.fetch()
                log.flush()
                run.save()
                saved = time.monotonic()
        losses.fetch()
        log.flush()
        run.save()
    return caught[0] if caught else None


class _Losses:
    """The losses of the last steps, on their way from the device to the log."""

    def __init__(self, run: Run, log: Any) -> None:
        self._run, self._log = run, log
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._means: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        detached = {tag: loss.detach() for tag, loss in losses.items()}  # lets go of the graph
        self._waiting.append((self._run.step, detached))
        if len(self._waiting) >= FETCH_EVERY:
            self.fetch()

    def fetch(self) -> None:
        """Log what has come together, and see that it is finite."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        values = iter(
            torch.stack([loss for _, losses in waiting for loss in losses.values()]).tolist()
        )
        for step, losses in waiting:
            for tag in losses:
                value = next(values)
                if not math.isfinite(value):
                    raise self._run.not_finite(f"the loss is {value}", step - 1)
                self._log.add_scalar(tag, value, step)
                mean = self._means.get(tag, value)
                self._means[tag] = 0.98 * mean + 0.02 * value

    def summary(self) -> str:
        """The losses of late, in words."""
        return ", ".join(f"{tag} {mean:.4f}" for tag, mean in self._means.items())


def pick_device(name: str | None) -> torch.device:
    """The device of that name; None: CUDA if there is a device, else the CPU.

    Raises:
        ValueError: it cannot be used here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here") from error
    return device


def adam_tensors(
    model: nn.Module, optimizer: torch.optim.Adam, prefix: str = ""
) -> dict[str, Tensor]:
    """Adam's state for all parameters of `model`, "NAME/exp_avg" and the like; empty at first.

    The prefix goes before the names, for a second Adam of the same parameters.
    """
    names = [name for name, _ in model.named_parameters()]
    return {
        f"{prefix}{names[index]}/{key}": value
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_adam_tensors(
    model: nn.Module, optimizer: torch.optim.Adam, tensors: dict[str, Tensor], prefix: str = ""
) -> None:
    """Take over what `adam_tensors` gave after at least one step; there may be other tensors too.

    Raises:
        KeyError: some are missing.
    """
    state = optimizer.state_dict()
    state["state"] = {
        index: {key: tensors[f"{prefix}{name}/{key}"] for key in _ADAM_STATE}
        for index, (name, _) in enumerate(model.named_parameters())
    }
    optimizer.load_state_dict(state)


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
