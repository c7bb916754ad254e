"""A model in training: the gradient of a step's batch, cut among processes and into parts.

A cut changes the gradient by rounding alone. What the loss is, and the optimizer, are left to the
runs, such as those of `train.py`; processes to `ranks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from handwriting.ranks import cut, joined

# What the nets' matrix products are computed in; all else is float32.
PRECISIONS = ("float32", "bfloat16")


class Learner:
    """Calls a model, and gives its parameters the gradient of a loss.

    Several ranks have the model of the first one, each with a part of every batch, and all get the
    gradient of the whole: a backward pass ends when all ranks' gradients are added up. All
    parameters must have a part in the loss.
    """

    def __init__(self, model: nn.Module, parts: int = 1, precision: str = "float32") -> None:
        """
        Args:
            model: on the device that it shall compute on.
            parts: that a rank's share of a batch is worked on in, one after the other.
            precision: one of PRECISIONS.
        """
        self._team, self._parts = joined(), parts
        self._device = next(model.parameters()).device
        self._low = precision == "bfloat16"
        self._model = model
        if not self._team.alone:
            self._model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the model gives."""
        if not self._low:
            return self._model(*inputs)
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._model(*inputs)

    def part(self, count: int) -> slice:
        """What this rank works on of `count` items.

        Where it has no share, that is the first item: the other ranks need a gradient from here to
        add to theirs, which then counts nothing.
        """
        part = self._team.part(count)
        return part if part.start < part.stop else slice(0, 1)

    def backward(
        self, count: int, losses: Callable[[slice], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Add the gradient of the sum of losses, each a mean over a batch, to the parameters'.

        Args:
            count: items in the batch, at least 1.
            losses: gives the losses by name for a part of the batch, scalars, means over the part.

        Returns:
            This rank's share of each loss, detached; those of all ranks add up to the batch's.
        """
        pieces, shares = self._pieces(count), {}
        for number, (piece, weight) in enumerate(pieces, 1):
            with nullcontext() if number == len(pieces) else self._without_exchange():
                parts = losses(piece)
                loss = sum(parts.values())
                factor = weight * self._team.count  # the ranks' gradients are averaged
                (loss if factor == 1 else factor * loss).backward()
            for name, value in parts.items():
                share = value.detach() if weight == 1 else weight * value.detach()
                shares[name] = shares[name] + share if name in shares else share
        return shares

    def _pieces(self, count: int) -> list[tuple[slice, float]]:
        """What this rank works on, each with its weight in the mean over the batch."""
        mine = self.part(count)
        if self._team.part(count) != mine:
            return [(mine, 0.0)]
        size = mine.stop - mine.start
        parts = min(self._parts, size)
        cuts = (cut(size, number, parts) for number in range(parts))
        return [
            (slice(mine.start + a.start, mine.start + a.stop), (a.stop - a.start) / count)
            for a in cuts
        ]

    def _without_exchange(self) -> AbstractContextManager[None]:
        return nullcontext() if self._team.alone else self._model.no_sync()
