"""How a training run goes: its steps, its log, its clock, and how it stops.

What a step does is left to the run, such as those of `train.py`, its checkpoint to `resuming.py`.
Several ranks go in step; the first one's clock counts, and it alone writes.
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
from torch import Tensor

from handwriting._extras import require
from handwriting.ranks import LostRankError, Ranks, naming_the_lost

# Losses are fetched from the device once in so many steps: each fetch waits for the device, and for
# the other ranks.
FETCH_EVERY = 16

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        team: the processes that train it.
    """

    out: Path
    path: Path
    epoch_steps: int
    epochs: int
    minutes: float | None
    team: Ranks = Ranks(0, 1)
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
        """Do one step; return what the log shall say of it by tag, scalars on any device.

        Of several ranks, each gives a share, and the log says their sum.
        """

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
    Ranks agree on when to stop and to save whenever they fetch losses, every FETCH_EVERY steps.

    Args:
        run: where to go on from.
        save_every: seconds between checkpoints; an epoch's end saves one too.

    Returns:
        Number of the signal, SIGINT or SIGTERM, that stopped it, or None.

    Raises:
        FloatingPointError: a loss is not finite; the last checkpoint is kept.
        LostRankError: another rank has ended, or does not answer for minutes; likewise.
    """
    with (
        _log(run) as log,
        _signals() as caught,
        require("tqdm").tqdm(
            total=run.last_step,
            initial=run.step,
            unit="step",
            disable=None if run.team.first else True,
            dynamic_ncols=True,
        ) as bar,
    ):
        orders = _Orders(run, caught, save_every)
        losses = _Losses(run, log, orders)
        run.start_clock()
        try:
            with naming_the_lost():
                losses.fetch()
                while run.step < run.last_step and not orders.stop():
                    losses.add(run.advance())
                    _after_step(run, orders, losses, log, bar)
                losses.fetch()
        except LostRankError as error:
            raise LostRankError(
                f"{error}; {run.path} keeps step {run.saved_step()}, the same command resumes"
            ) from error
        log.flush()
        run.save()
        return orders.signal()


def _after_step(run: Run, orders: _Orders, losses: _Losses, log: Any, bar: Any) -> None:
    """Show how far it is, measure at an epoch's end, and save when it is time."""
    bar.set_postfix_str(losses.summary(), refresh=False)
    bar.update()
    epoch, rest = divmod(run.step, run.epoch_steps)
    if rest == 0:
        losses.fetch()
        measured = run.team.share(run.measure)
        for tag, value in measured.items():
            log.add_scalar(tag, value, run.step)
        if run.team.first:
            said = "".join(f", {tag} {value:.4f}" for tag, value in measured.items())
            bar.write(
                f"epoch {epoch} of {run.epochs}: {losses.summary()}{said}, "
                f"{run.elapsed() / 60:.1f} minutes"
            )
    if rest == 0 or orders.save():
        # The log first: a checkpoint must not be ahead of it.
        losses.fetch()
        log.flush()
        run.save()
        orders.saved()


class _Orders:
    """Whether to stop and to save: one process as of now, several as of the last fetch."""

    def __init__(self, run: Run, caught: list[int], save_every: float) -> None:
        self._run, self._caught, self._save_every = run, caught, save_every
        self._saved = time.monotonic()
        self._agreed: list[float] = []

    def wishes(self) -> list[float]:
        """1 or 0 for each of _SIGNALS, the time limit and a checkpoint; only one clock counts."""
        first = self._run.team.first
        up = first and self._run.time_is_up()
        due = first and time.monotonic() - self._saved > self._save_every
        return [float(wish) for wish in (*(n in self._caught for n in _SIGNALS), up, due)]

    def agree(self, wishes: list[float]) -> None:
        """Take over the sums of all ranks' wishes."""
        self._agreed = wishes

    def saved(self) -> None:
        """Have the time until the next checkpoint count from here."""
        self._saved = time.monotonic()
        self._agreed[-1:] = [0.0]

    def signal(self) -> int | None:
        """The signal that some rank caught."""
        return next((n for n, wish in zip(_SIGNALS, self._now(), strict=False) if wish), None)

    def stop(self) -> bool:
        """Whether this was the last step."""
        return any(self._now()[:-1])

    def save(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._now()[-1] > 0

    def _now(self) -> list[float]:
        return self.wishes() if self._run.team.alone else self._agreed


@contextmanager
def _log(run: Run) -> Iterator[Any]:
    """TensorBoard's log on the first rank; on others one that keeps nothing."""
    if not run.team.first:
        yield _NoLog()
        return
    # What was logged after the checkpoint will be logged again; readers drop the first version.
    summary_writer = require("torch.utils.tensorboard").SummaryWriter
    try:
        with summary_writer(str(run.out), purge_step=run.step + 1) as log:
            yield log
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(run.out)) from error  # such as a full disk


class _NoLog:
    def add_scalar(self, tag: str, value: float, step: int) -> None:
        pass

    def flush(self) -> None:
        pass


class _Losses:
    """The losses of the last steps, on their way from the device to the log."""

    def __init__(self, run: Run, log: Any, orders: _Orders) -> None:
        self._run, self._log, self._orders = run, log, orders
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._means: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor]) -> None:
        detached = {tag: loss.detach() for tag, loss in losses.items()}  # lets go of the graph
        self._waiting.append((self._run.step, detached))
        if len(self._waiting) >= FETCH_EVERY:
            self.fetch()

    def fetch(self) -> None:
        """Log what has come together, see that it is finite, and agree with the other ranks."""
        waiting, self._waiting = self._waiting, []
        shares = [loss for _, losses in waiting for loss in losses.values()]
        fetched = torch.stack(shares).tolist() if shares else []
        if not self._run.team.alone:
            fetched = self._run.team.sum([*fetched, *self._orders.wishes()])
            self._orders.agree(fetched[len(shares) :])
        values = iter(fetched)
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

    for number in _SIGNALS:
        previous[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
