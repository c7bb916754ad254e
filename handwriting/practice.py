"""Steps of training on collected strokes: to write what was written, point by point.

When these steps are taken is left to `train.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handwriting.learner import Learner
from handwriting.losses import stroke_loss
from handwriting.models.writer import IMAGE_SIZE
from handwriting.running import Batches
from handwriting.samples import Samples, sample_images


class Practice:
    """Trains a model to write the images of drawings with their own points.

    The loss is `stroke_loss`; softness is left alone, as in the post. All drawings are in a step,
    or batches of them where there are more than fit in one.

    Attributes:
        optimizer: an Adam of its own, besides the one that trains on digits, as in the post.
    """

    def __init__(
        self,
        model: nn.Module,
        learner: Learner,
        samples: Samples,
        batch_size: int,
        lr: float,
        seed: int,
        scale: float | None,
    ) -> None:
        """
        Args:
            model: what learns.
            learner: of that model.
            samples: what it learns from.
            batch_size: drawings in a step, at most.
            lr: Adam's step size.
            seed: of the order of the drawings.
            scale: of `stroke_loss`, in pixels.
        """
        device = next(model.parameters()).device
        self._learner = learner
        self._scale = None if scale is None else scale / IMAGE_SIZE
        self._labels = samples.labels
        self._images = sample_images(samples.strokes).to(device)
        self._positions = samples.strokes[..., :2].to(device)
        self._batches = Batches(len(samples.labels), batch_size, (seed, 1), device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)

    def step(self, number: int) -> Tensor:
        """Do step `number`, counted from 0; return this rank's share of the loss before it."""
        here, there = self._batches.at(number)

        def losses(part: slice) -> dict[str, Tensor]:
            written = self._learner(self._images[there[part]], self._labels[here[part]])
            return {"loss": stroke_loss(written, self._positions[there[part]], self._scale)}

        self.optimizer.zero_grad()
        loss = self._learner.backward(len(here), losses)["loss"]
        self.optimizer.step()
        return loss
