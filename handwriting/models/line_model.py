"""The post's neural line model: a network that draws one line, in place of a formula.

Holds the network, how it starts, and how segments of strokes merge. The lines it learns from are
in `lines.py`, training in `train_lines.py`, its file in `checkpoint.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from handwriting.models.writer import IMAGE_SIZE

_CHANNELS = 8
_INPUTS = 6

# Share of ink in the images of `lines.draw_lines`.
_INK = 0.0146


@dataclass(frozen=True)
class LineModelConfig:
    """What rebuilds a `LineModel`: nothing, there is one size of it."""

    model: ClassVar[str] = "line_model"


class LineModel(nn.Module):
    """Two dense and two convolutional layers, from the two ends of a line to its image.

    Dense 784, dense 784 * 8 as 8 images, convolution 5x5 to 16 images and 3x3 to one; ELU between
    them, a sigmoid last. Its input is x1, y1, lifted1, x2, y2, lifted2. lifted is 1 where the pen
    leaves the paper after that point and else 0, so a line whose lifted1 is 1 is not drawn.

    Weights start as TensorFlow's layers do, Glorot uniform and biases 0, with two exceptions. The
    bends of the first layer's units are spread over the inputs' cube: from biases 0 they would all
    pass through its corner (squared error on new lines after 500 steps: 0.0115 instead of 0.0132;
    nothing drawn has 0.0146). And the last bias starts at the little ink that a line has.
    """

    def __init__(self, config: LineModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or LineModelConfig()
        self.dense1 = nn.Linear(_INPUTS, IMAGE_SIZE**2)
        self.dense2 = nn.Linear(IMAGE_SIZE**2, IMAGE_SIZE**2 * _CHANNELS)
        self.conv1 = nn.Conv2d(_CHANNELS, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 1, 3, padding=1)
        for layer in (self.dense2, self.conv1, self.conv2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.dense1.weight, -2, 2)
        with torch.no_grad():
            bends = torch.rand(IMAGE_SIZE**2, _INPUTS)
            self.dense1.bias.copy_(-(self.dense1.weight * bends).sum(1))
        nn.init.constant_(self.conv2.bias, -math.log(1 / _INK - 1))

    def forward(self, segments: Tensor) -> Tensor:
        """Draw lines, each on a canvas of its own.

        Args:
            segments: (N, 6): x1, y1, lifted1, x2, y2, lifted2; all in 0..1.

        Returns:
            (N, 28, 28), 0..1.
        """
        return self.logits(segments).sigmoid()

    def logits(self, segments: Tensor) -> Tensor:
        """What `forward` gives, before the sigmoid."""
        elu = nn.functional.elu
        hidden = elu(self.dense2(elu(self.dense1(segments))))
        # Channels last: the convolutions run a tenth faster so.
        images = hidden.unflatten(1, (IMAGE_SIZE, IMAGE_SIZE, _CHANNELS)).permute(0, 3, 1, 2)
        return self.conv2(elu(self.conv1(images))).squeeze(1)

    def draw(self, points: Tensor, composite: str = "sum") -> Tensor:
        """Draw strokes, each segment by `forward`.

        Args:
            points: (B, P, 3): x, y, lifted; all in 0..1. Fewer than 2 points draw nothing.
            composite: how the segments of a stroke merge: "sum", which may exceed 1, or "max".

        Returns:
            (B, 28, 28), differentiable with respect to the points.

        Raises:
            ValueError: points of another shape, or another composite.
        """
        if points.dim() != 3 or points.shape[2] != 3:
            raise ValueError(
                f"points must have the shape (B, P, 3), x y lifted, got {tuple(points.shape)}"
            )
        if composite not in ("sum", "max"):
            raise ValueError(f'composite must be "sum" or "max", got {composite!r}')
        batch, count = points.shape[0], points.shape[1] - 1
        if count < 1:
            return points.new_zeros(batch, IMAGE_SIZE, IMAGE_SIZE)
        segments = torch.cat((points[:, :-1], points[:, 1:]), dim=2)
        lines = self(segments.flatten(0, 1)).unflatten(0, (batch, count))
        return lines.sum(1) if composite == "sum" else lines.amax(1)
