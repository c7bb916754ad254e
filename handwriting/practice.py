"""Steps of training on collected strokes: to write what was written, point by point.

When these steps are taken is left to `train.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handwriting.running import Batches
from handwriting.samples import Samples, sample_images


class Practice:
    """Trains a model to write the images of drawings with their own points.

    The loss is the mean squared error of x and y; softness is left alone, as in the post. All
    drawings are in a step, or batches of them where there are more than fit in one.

    Attributes:
        optimizer: an Adam of its own, besides the one that trains on digits, as in the post.
    """

    def __init__(
        self, model: nn.Module, samples: Samples, batch_size: int, lr: float, seed: int
    ) -> None:
        device = next(model.parameters()).device
        self._model = model
        self._labels = samples.labels
        self._images = sample_images(samples.strokes).to(device)
        self._positions = samples.strokes[..., :2].to(device)
        self._batches = Batches(len(samples.labels), batch_size, (seed, 1), device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)

    def step(self, number: int) -> Tensor:
        """Do step `number`, counted from 0; return the loss before it."""
        here, there = self._batches.at(number)
        written = self._model(self._images[there], self._labels[here])
        loss = (written[..., :2] - self._positions[there]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()
