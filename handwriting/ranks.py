"""Work shared out among processes that torchrun started; one process where it did not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

# A rank may wait for the slowest one's share of the work.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Ranks:
    """This process's number among all.

    Attributes:
        rank: 0 to count - 1.
        count: of processes.
    """

    rank: int
    count: int

    @property
    def first(self) -> bool:
        """Whether this is the process that prints, and writes what is written once."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all ranks have called it.

        Raises:
            RuntimeError: another rank has died.
        """
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the other processes by the environment that torchrun sets: RANK, WORLD_SIZE, ...

    They speak over gloo, which needs no GPU.

    Raises:
        ValueError: the environment names more than one process, but not how to reach them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(0, 1)
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
