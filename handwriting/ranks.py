"""Work shared out among processes that torchrun started; one process where it did not.

What is shared out is left to those who ask: parts of an export, or of each step's batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

# Among ranks that go in step, the longest that one may keep the others waiting: a checkpoint or a
# measurement takes seconds.
_STEP_PATIENCE = timedelta(minutes=10)
# A rank may wait for the slowest one's share of the work.
_PATIENCE = timedelta(days=1)

T = TypeVar("T")


class LostRankError(ConnectionError):
    """Another of the processes has ended, or does not answer any more."""


@dataclass(frozen=True)
class Ranks:
    """This process's number among all.

    Attributes:
        rank: 0 to count - 1.
        count: of processes.
        local_rank: its number on its machine, which is that of its GPU, too.
        patient: the group of processes that may wait for each other for long; None: the usual one.
    """

    rank: int
    count: int
    local_rank: int = 0
    patient: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that prints, and writes what is written once."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self.count == 1

    def say(self, text: str) -> None:
        """Print, on the first rank."""
        if self.first:
            print(text)

    def part(self, count: int) -> slice:
        """This rank's part of `count` items; ranks' parts differ by one at most."""
        return cut(count, self.rank, self.count)

    def device(self, name: str | None) -> str | None:
        """The device that `name` means on this rank: of several, each has a GPU of its own.

        Raises:
            ValueError: it names one GPU, and there are several ranks.
        """
        if self.alone:
            return name
        import torch

        if name is None:
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.startswith("cuda:"):
            raise ValueError(f"device must be cuda or cpu for several processes, got {name!r}")
        return f"cuda:{self.local_rank}" if name == "cuda" else name

    def wait(self) -> None:
        """Return when all ranks have called it.

        Raises:
            LostRankError: another rank has ended.
        """
        if not self.alone:
            import torch.distributed

            with naming_the_lost():
                torch.distributed.barrier(self.patient)

    @contextmanager
    def one_here_first(self) -> Iterator[None]:
        """Let a rank of each machine go first, so that the others find what it has cached."""
        if self.local_rank > 0:
            self.wait()
        yield
        if self.local_rank == 0:
            self.wait()

    def sum(self, values: list[float]) -> list[float]:
        """The sums over all ranks, in float64; all must give as many.

        Raises:
            LostRankError: another rank has ended.
        """
        if self.alone:
            return values
        import torch.distributed

        total = torch.tensor(values, dtype=torch.float64)
        with naming_the_lost():
            torch.distributed.all_reduce(total)
        return total.tolist()

    def share(self, call: Callable[[], T], patient: bool = False) -> T:
        """What `call` returns on the first rank, which alone calls it, on all ranks.

        Args:
            call: what it returns must be picklable.
            patient: whether it may take more than minutes.

        Raises:
            LostRankError: another rank has ended, such as the first by what `call` raised.
        """
        if self.alone:
            return call()
        import torch.distributed

        box = [call() if self.first else None]
        with naming_the_lost():
            torch.distributed.broadcast_object_list(box, group=self.patient if patient else None)
        return box[0]

    @contextmanager
    def leading(self) -> Iterator[None]:
        """On the first rank: have the others `follow` until the end of this."""
        try:
            yield
        finally:
            if not self.alone:
                with suppress(LostRankError):  # who has ended need not be told
                    self.share(lambda: None, patient=True)

    def call(self, function: Callable[[Any], T], argument: Any) -> T:
        """Call a function here, and on the ranks that follow this one; both must be picklable."""
        if not self.alone:
            self.share(lambda: (function, argument), patient=True)
        return function(argument)

    def follow(self) -> Any:
        """Do the calls of the first rank; return what the last one gave, None if there were none.

        Raises:
            LostRankError: another rank has ended.
        """
        result = None
        while (job := self.share(lambda: None, patient=True)) is not None:
            function, argument = job
            result = function(argument)
        return result


_joined = Ranks(0, 1)


def joined() -> Ranks:
    """The ranks among which this process is, inside of `ranks`; elsewhere it is alone."""
    return _joined


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the other processes by the environment that torchrun sets: RANK, WORLD_SIZE, ...

    They speak over gloo and, of what is on GPUs, over nccl. Inside of another `ranks`, go on with
    those of that one.

    Raises:
        ValueError: the environment names more than one process, but not how to reach them.
        LostRankError: they cannot be reached.
    """
    global _joined
    if not _joined.alone or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield _joined
        return
    import torch.distributed

    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    with naming_the_lost():
        torch.distributed.init_process_group(backend, timeout=_STEP_PATIENCE)
    try:
        with naming_the_lost():
            patient = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
        rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        _joined = Ranks(rank, count, local_rank, patient)
        yield _joined
    finally:
        _joined = Ranks(0, 1)
        torch.distributed.destroy_process_group()


@contextmanager
def naming_the_lost() -> Iterator[None]:
    """Raise what says that another rank cannot be reached as a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        if not _is_of_a_connection(error):
            raise
        raise LostRankError("another process has ended, or does not answer") from error


def _is_of_a_connection(error: RuntimeError) -> bool:
    import torch.distributed

    if not torch.distributed.is_available():
        return False
    # gloo's errors have no type of their own, but begin with the file that raised them.
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def cut(count: int, number: int, parts: int) -> slice:
    """The part `number`, from 0, of `count` items in `parts` parts that differ by one at most."""
    return slice(number * count // parts, (number + 1) * count // parts)
