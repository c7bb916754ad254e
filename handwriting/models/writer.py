"""The post's first writer: one recurrent network that turns the image of a digit into a stroke.

Holds the parameters, how they start and what the outputs mean. The recurrence itself is in
`unroll.py`, drawing in `softraster`, training in `train.py`. `ensemble.py` shares what it can.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from handwriting.models.unroll import unroll

IMAGE_SIZE = 28
CLASSES = 10

# Half of what trained writers settle at: a wider line meets the ink sooner. Pixel loss after 400
# steps at 256 units: 0.0301 from 20, 0.0306 from 40, 0.0315 from 75, 0.0368 from 150.
START_SOFTNESS = 40.0


@dataclass(frozen=True)
class WriterConfig:
    """What rebuilds a `Writer`.

    Attributes:
        units: cells in each of the three LSTM layers, at least 1. The post has 512.
        points: points in a stroke, at least 2. The post has 20.
        composite: how the segments of its strokes are meant to merge, "sum" or "max".
        dropout: share, at least 0 and under 1, of what the second and third layer get from the
            layer below that is dropped at each step of training.
    """

    model: ClassVar[str] = "writer"

    units: int = 512
    points: int = 20
    composite: str = "sum"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("units", 1), ("points", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.composite not in ("sum", "max"):
            raise ValueError(f'composite must be "sum" or "max", got {self.composite!r}')
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and under 1, got {self.dropout!r}")


class Writer(nn.Module):
    """Three LSTM layers that see a digit and their own last point, and emit the next point.

    The first layer's input at every step is the image, the label as one-hot and the last point,
    zeros at first. The third layer projects its state to 3 numbers, and it is the projection that
    recurs. A layer's gates stand in the order input, forget, output, candidate. The parameters
    start as those of TensorFlow's `LSTMCell`, in which the post was written: Glorot uniform, biases
    0 except 1 for the forget gates. Two things differ: square recurrent matrices start orthogonal
    (pixel loss after 400 steps at 256 units, two seeds: 0.0296 and 0.0301 instead of 0.0306 and
    0.0315), and the output has a bias, for the sake of START_SOFTNESS.

    The last point is fed back as (x, y, log softness), where the post feeds what it emits, softness
    itself. They learn alike (pixel loss after 500 steps at 256 units: 0.0289 and 0.0288), and the
    logarithm keeps the gates out of saturation when lines grow hard.
    """

    def __init__(self, config: WriterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or WriterConfig()
        units = config.units
        static = IMAGE_SIZE**2 + CLASSES
        self.static_weight, self.point_weight, self.rec_weight0 = _glorot(
            4 * units, static, 3, units
        )
        self.in_weight1, self.rec_weight1 = _glorot(4 * units, units, units)
        self.in_weight2, self.rec_weight2 = _glorot(4 * units, units, 3)
        (self.projection,) = _glorot(3, units)
        for weight in (self.rec_weight0, self.rec_weight1):
            for gate in weight.detach().chunk(4):
                nn.init.orthogonal_(gate)
        bias = torch.zeros(4 * units)
        bias[units : 2 * units] = 1
        self.bias0, self.bias1, self.bias2 = (nn.Parameter(bias.clone()) for _ in range(3))
        self.output_bias = nn.Parameter(torch.tensor([0.0, 0.0, math.log(START_SOFTNESS)]))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Write digits.

        Args:
            images: (B, 28, 28) floating point, 0 is ground and 1 is ink.
            labels: (B,) integers, 0 to 9.

        Returns:
            (B, points, 3) strokes: x and y in 0..1, softness > 0. Differentiable once, with respect
            to the parameters and the images.
        """
        one_hot = nn.functional.one_hot(labels, CLASSES).to(images.dtype)
        # What does not change over the steps is multiplied once, not at every step.
        static = nn.functional.linear(
            torch.cat((images.flatten(1), one_hot), dim=1), self.static_weight, self.bias0
        )
        weights = (
            torch.cat((self.rec_weight0, self.point_weight), dim=1).t()[None],
            torch.cat((self.rec_weight1, self.in_weight1), dim=1).t()[None],
            torch.cat((self.rec_weight2, self.in_weight2), dim=1).t()[None],
        )
        outputs = unroll(
            self.config.points,
            static[None],
            weights,
            (self.bias1[None], self.bias2[None]),
            self.projection.t()[None],
            self.output_bias[None],
            dropout_masks(self, static[None]),
        )[0]
        return to_strokes(outputs)


def to_strokes(outputs: Tensor) -> Tensor:
    """(..., 3) logit of x, logit of y, log softness -> (..., 3) x, y, softness."""
    return torch.cat((outputs[..., :2].sigmoid(), outputs[..., 2:].exp()), dim=-1)


def dropout_masks(model: nn.Module, static: Tensor) -> tuple[Tensor, Tensor] | None:
    """Masks for `unroll`, new at every step of it, by `model.config.dropout`; None without dropout.

    They come from torch's default generator. What is kept is scaled up, so that the mean stays.
    """
    config = model.config
    if not (model.training and config.dropout):
        return None
    kept = 1 - config.dropout
    shape = config.points, *static.shape[:2], config.units
    masks = (torch.empty(shape, dtype=static.dtype, device=static.device) for _ in range(2))
    first, second = (mask.bernoulli_(kept).div_(kept) for mask in masks)
    return first, second


def _glorot(rows: int, *columns: int) -> list[nn.Parameter]:
    """Parts (rows, c) of one matrix whose limit counts all of its columns, as in TensorFlow."""
    limit = math.sqrt(6 / (rows + sum(columns)))
    return [nn.Parameter(torch.empty(rows, count).uniform_(-limit, limit)) for count in columns]
