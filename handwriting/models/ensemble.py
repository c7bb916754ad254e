"""The post's best writer: for each digit a small network of its own, the ten run side by side.

Holds the parameters, how they start, and how a batch is shared out among the nets. The recurrence
itself is in `unroll.py`, drawing in `softraster`, training in `train.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from handwriting.models.unroll import unroll
from handwriting.models.writer import (
    CLASSES,
    IMAGE_SIZE,
    START_SOFTNESS,
    WriterConfig,
    dropout_masks,
    to_strokes,
)


@dataclass(frozen=True)
class EnsembleConfig(WriterConfig):
    """What rebuilds an `Ensemble`: as for a `Writer`, but the post has 64 units in a layer."""

    model: ClassVar[str] = "ensemble"

    units: int = 64


class Ensemble(nn.Module):
    """Ten nets of three LSTM layers; a digit is written by the net of its label.

    A net works and starts like a `Writer`, but its second and third layer get the last point and
    the label too, besides what the layer below gives them. A net meets one label only, so the
    weights of its labels come down to one column that is always added. That column is part of the
    biases, which therefore start at random.

    A batch is sorted by label and padded until every net has as many digits. So each product of the
    recurrence is one batched product. Weights have a row for each input, columns for the gates.
    """

    def __init__(self, config: EnsembleConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EnsembleConfig()
        units = config.units
        self.static_weight, self.weight0, self.bias0 = _layer(units, IMAGE_SIZE**2, units + 3)
        self.weight1, self.bias1 = _layer(units, 2 * units + 3)
        self.weight2, self.bias2 = _layer(units, 3 + units + 3)
        for weight in (self.weight0, self.weight1):
            for net in weight.detach():
                for gate in net[:units].chunk(4, dim=1):
                    nn.init.orthogonal_(gate)
        limit = math.sqrt(6 / (3 + units))
        self.projection = nn.Parameter(torch.empty(CLASSES, units, 3).uniform_(-limit, limit))
        start = torch.tensor([0.0, 0.0, math.log(START_SOFTNESS)])
        self.output_bias = nn.Parameter(start.repeat(CLASSES, 1))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Write digits.

        Args:
            images: (B, 28, 28) floating point, 0 is ground and 1 is ink.
            labels: (B,) integers, 0 to 9. On the CPU they spare a wait for the device.

        Returns:
            (B, points, 3) strokes: x and y in 0..1, softness > 0. Differentiable once, with respect
            to the parameters and the images.

        Raises:
            ValueError: a label is not in 0..9.
        """
        slots, size = _slots(labels.cpu())
        slots = slots.to(images.device, non_blocking=True)
        padded = images.new_zeros(CLASSES * size, IMAGE_SIZE**2)
        padded = padded.index_copy(0, slots, images.flatten(1)).unflatten(0, (CLASSES, size))
        static = torch.baddbmm(self.bias0[:, None], padded, self.static_weight)
        outputs = unroll(
            self.config.points,
            static,
            (self.weight0, self.weight1, self.weight2),
            (self.bias1, self.bias2),
            self.projection,
            self.output_bias,
            dropout_masks(self, static),
        )
        return to_strokes(outputs.flatten(0, 1).index_select(0, slots))


def _layer(units: int, *inputs: int) -> list[nn.Parameter]:
    """Weights of a layer for each group of inputs, and its bias, for all nets.

    Glorot's limit counts all inputs and the ten labels, as in TensorFlow.
    """
    limit = math.sqrt(6 / (4 * units + sum(inputs) + CLASSES))
    weights = [torch.empty(CLASSES, count, 4 * units) for count in inputs]
    bias = torch.empty(CLASSES, 4 * units)
    for tensor in (*weights, bias):
        tensor.uniform_(-limit, limit)
    bias[:, units : 2 * units] += 1  # of the forget gates
    return [nn.Parameter(tensor) for tensor in (*weights, bias)]


def _slots(labels: Tensor) -> tuple[Tensor, int]:
    """Where each digit goes among 10 * size places, `size` for each net, and that size."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < CLASSES:
        raise ValueError(f"labels must be 0 to 9, got {int(labels.min())} to {int(labels.max())}")
    counts = torch.bincount(labels, minlength=CLASSES)
    order = labels.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    size = int(counts.max())
    return labels * size + rank, size
