"""Training runs that live in a folder each: kept there, and gone on with by the same call.

The folder's checkpoint holds the weights, the moments of each Adam, and what a run needs to see
that it is the same. What a step does is left to the runs, such as those of `train.py`, the loop to
`running.py`, the file's form to `checkpoint.py`, several processes to `ranks.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from handwriting import checkpoint as checkpoints
from handwriting._extras import require
from handwriting.ranks import joined, ranks
from handwriting.running import Run, go, pick_device

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")

_REMEDY = "give the same, another folder, or overwrite"


@dataclass(frozen=True)
class TrainResult:
    """How a run stood when it stopped.

    Attributes:
        path: its checkpoint.
        step: steps done since the run began, resumed ones included.
        measured: what the run measures at an epoch's end, by tag, with these weights; empty if it
            was interrupted.
        signal: number of the signal that interrupted it, or None.
    """

    path: Path
    step: int
    measured: Mapping[str, float]
    signal: int | None = None

    @property
    def test_mse(self) -> float | None:
        """Squared error on what it does not train on, of runs that measure that."""
        return self.measured.get("mse/test")


class KeptRun(Run):
    """A run with a model, whose folder keeps all that it carries from step to step.

    Attributes:
        SOURCES: names of what it learns from.
        MANY: whether several processes can train it together.
        config: its options; all have out, minutes, seed, save_every, device and overwrite.
        subject: what is trained on what, in words.
        fixed: options that shape the weights, by name; a resumed run must have the same.
        defaults: what of `fixed` a run had that is older than the option.
        sources: of SOURCES those that it has, in words with a checksum; likewise.
        device, model: where it computes, and what it trains.
        optimizers: each Adam of the model, by what goes before its names in the checkpoint.
    """

    SOURCES: ClassVar[tuple[str, ...]] = ()
    MANY: ClassVar[bool] = False
    subject: str
    fixed: Mapping[str, Any]
    defaults: Mapping[str, Any] = MappingProxyType({})
    sources: Mapping[str, str] = MappingProxyType({})
    optimizers: dict[str, torch.optim.Adam]
    _first_step = 0  # that this process does
    _saved_step = 0
    _machine: dict[str, Any] | None = None  # that did the steps before

    def __init__(self, config: Any, model_config: Any) -> None:
        """Make the model that `model_config` is for; its weights are those of the run's seed."""
        self.config = config
        self.out, self.minutes = config.out, config.minutes
        self.path = config.out / checkpoints.CHECKPOINT_NAME
        self.team = joined()
        self.device = pick_device(self.team.device(config.device))
        if self.device.type == "cuda" and not self.team.alone:
            torch.cuda.set_device(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = checkpoints.build(model_config).to(self.device)

    def supplied(self) -> AbstractContextManager[Any]:
        """What must be open while steps are done."""
        return nullcontext()

    def save(self) -> None:
        """Write the checkpoint, unless it would hold numbers that are not finite.

        Of several ranks, whose weights are the same, the first one does so.
        """
        if self.team.first:
            self._write()
        self._saved_step = self.step

    def _write(self) -> None:
        weights, moments = self.model.state_dict(), {}
        for prefix, optimizer in self.optimizers.items():
            moments |= _adam_tensors(self.model, optimizer, prefix)
        if not all(t.isfinite().all() for t in (*weights.values(), *moments.values())):
            raise self.not_finite("a weight or its moment is not finite", self.step)
        training = {
            "step": self.step,
            "elapsed": self.elapsed(),
            "options": dict(self.fixed),
            "machine": self._computing() if self.step > self._first_step else self._machine,
            **self.sources,
        }
        checkpoint = checkpoints.Checkpoint(self.model.config, weights, moments, training)
        checkpoints.save(self.path, checkpoint)

    def saved_step(self) -> int:
        """The step that the checkpoint is of."""
        return self._saved_step

    def resume(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Take over the state of the checkpoint in the run's folder.

        Raises:
            CheckpointError: something is missing in it.
            ValueError: it is of a run with other options or sources.
        """
        training = checkpoint.training
        try:
            self._check_same(training)
            self.model.load_state_dict(checkpoint.weights)
            self.step = self._first_step = self._saved_step = int(training["step"])
            if self.step > 0:
                for prefix, optimizer in self.optimizers.items():
                    _load_adam_tensors(self.model, optimizer, checkpoint.optimizer, prefix)
            self._elapsed_before = float(training["elapsed"])
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise checkpoints.CheckpointError(
                f"{self.path}: cannot be resumed ({reason})"
            ) from error
        self._machine = training.get("machine")  # runs that are older have none

    def check_shared(self) -> None:
        """See that the first rank has the same sources.

        Raises:
            ValueError: it has others.
        """
        theirs = self.team.share(lambda: dict(self.sources))
        if theirs != self.sources:
            raise ValueError(
                f"process {self.team.rank} has {dict(self.sources)}, the first {theirs}"
            )

    def _computing(self) -> dict[str, Any]:
        """What computes here, on the CPU with how many threads, and in how many processes."""
        machine = _machine(self.device)
        return machine if self.team.alone else {**machine, "processes": self.team.count}

    def _check_same(self, training: dict[str, Any]) -> None:
        theirs = {**self.defaults, **training["options"]}
        for name, ours in self.fixed.items():
            if theirs[name] != ours:
                held = f"{name} {theirs[name]}"
                raise ValueError(f"{self.out} holds a run with {held}, not {ours}; {_REMEDY}")
        for name in self.SOURCES:
            held, ours = (sources.get(name, "none") for sources in (training, self.sources))
            if held != ours:
                held = f"on other {name} ({held}, not {ours})"
                raise ValueError(f"{self.out} holds a run {held}; {_REMEDY}")


def train_in_folder(config: Any, make_run: Callable[[Any], KeptRun]) -> TrainResult:
    """Begin the run that `make_run` gives for `config`, or go on with the one in `config.out`.

    Stops after the last step, at the time limit, or at Ctrl-C or SIGTERM; always with a checkpoint
    from which the same call goes on. Shows a progress bar on a terminal, prints a line per epoch.
    Where torchrun has started several processes, they share each step; the first one writes and
    prints, and only it needs the folder. Any number of them goes on with the run.

    Raises:
        ValueError: the folder holds a run with other options, or its checkpoint is damaged; or the
            device does not exist.
        BlockingIOError: another process is in the folder.
        FloatingPointError: the loss or a weight is not finite; the last checkpoint is kept.
        OSError: the folder cannot be written.
        LostRankError: another of several processes has ended.
    """
    with ranks() as team:
        if team.first:
            config.out.mkdir(parents=True, exist_ok=True)
        with hold(config.out) if team.first else nullcontext():
            return _train(config, make_run)


def _train(config: Any, make_run: Callable[[Any], KeptRun]) -> TrainResult:
    run = make_run(config)
    team, say = run.team, run.team.say
    if not (team.alone or run.MANY):
        raise ValueError(f"{run.subject} is trained by one process, got {team.count}")
    held = team.share(lambda: _held(run))
    if held is not None:
        run.resume(held)
        say(f"Resuming {config.out} at step {run.step:,} of {run.last_step:,}")
    else:
        run.check_shared()
        run.save()
        say(f"Training {run.subject} in {config.out}")
    with run.supplied():
        signal = go(run, config.save_every)
    if signal is not None:
        say(f"Interrupted at step {run.step:,}; the same command resumes (without --overwrite)")
        return TrainResult(run.path, run.step, {}, signal)
    result = TrainResult(run.path, run.step, team.share(run.measure))
    limit = "all steps done" if run.step >= run.last_step else "time limit reached"
    said = "".join(f", {tag} {value:.4f}" for tag, value in result.measured.items())
    say(f"{limit}: step {run.step:,}{said}, {run.path}")
    return result


def _held(run: KeptRun) -> checkpoints.Checkpoint | None:
    """The checkpoint to go on from, if there is one."""
    kept = run.path.exists() and not run.config.overwrite
    return checkpoints.load(run.path) if kept else None


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes that ask for it so, until the end or this one's death.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be written.
    """
    filelock = require("filelock")
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BlockingIOError(
            f"{folder} is in use by another process; wait for its end or give another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _machine(device: torch.device) -> dict[str, Any]:
    """What computes here, and on the CPU with how many threads."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": f"{os.cpu_count()} CPU cores", "threads": torch.get_num_threads()}


def _adam_tensors(
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


def _load_adam_tensors(
    model: nn.Module, optimizer: torch.optim.Adam, tensors: dict[str, Tensor], prefix: str = ""
) -> None:
    """Take over what `_adam_tensors` gave after at least one step; there may be other tensors too.

    Raises:
        KeyError: some are missing.
    """
    state = optimizer.state_dict()
    state["state"] = {
        index: {key: tensors[f"{prefix}{name}/{key}"] for key in _ADAM_STATE}
        for index, (name, _) in enumerate(model.named_parameters())
    }
    optimizer.load_state_dict(state)
