"""A small network that reads digits from pen strokes: what exported strokes are good for.

Trained on the strokes of one source, it reads those of others, people's among them. The images that
strokes were drawn from play no part; the reader of images is in `reader.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from handwriting._extras import require
from handwriting.dataset import HandwrittenDigits
from handwriting.dtw import path_points, unit_box
from handwriting.formats import SPLITS, StrokeSet
from handwriting.models.writer import CLASSES
from handwriting.samples import Samples
from handwriting.transforms import Affine, Slant, Speed

UNITS = 64
BATCH_SIZE = 128
PEAK_LR = 4e-3
_TRANSFORMS = (Affine(), Slant(), Speed())


class StrokeReader(nn.Module):
    """A GRU in both directions over the points, then a dense layer on its two last states.

    Input (B, P, 3) of x, y, lifted; output (B, 10), scores of the classes. Position and size of a
    drawing do not count: it is brought to the same height or width, whichever is larger, and to the
    middle. What the GRU sees of a point is its place, the way to it, and whether the pen is lifted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, UNITS, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * UNITS, CLASSES)

    def forward(self, drawings: Tensor) -> Tensor:
        """(B, P, 3) to (B, 10)."""
        points, lifted = drawings[..., :2], drawings[..., 2:]
        low, high = points.amin(dim=1, keepdim=True), points.amax(dim=1, keepdim=True)
        size = (high - low).amax(dim=2, keepdim=True).clamp_min(1e-3)
        places = 2 * (points - (low + high) / 2) / size
        ways = 4 * torch.diff(places, dim=1, prepend=places[:, :1])
        _, last = self.gru(torch.cat((places, ways, lifted), dim=2))
        return self.output(last.transpose(0, 1).flatten(1))


@dataclass(frozen=True)
class StrokeReaderConfig:
    """Options of training a reader of strokes.

    Attributes:
        epochs: passes over the drawings, each changed anew by `transforms.py`.
        seed: of the first weights, the order of the drawings and their changes.
        workers: processes that load drawings; the result does not depend on it.
    """

    epochs: int = 4
    seed: int = 0
    workers: int = 0


def train_stroke_reader(
    drawn: StrokeSet, config: StrokeReaderConfig | None = None, *, progress: bool = False
) -> StrokeReader:
    """Train a reader on the train digits of a set: Adam under a one-cycle schedule.

    Args:
        drawn: drawings; badly drawn ones are learned from, too.
        config: None for the defaults.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        The reader, ready to read. The same seed, versions, machine and threads give the same bits.

    Raises:
        ValueError: there is nothing to train on.
    """
    config = config or StrokeReaderConfig()
    digits = HandwrittenDigits(drawn, "train", transform=_TRANSFORMS, seed=config.seed)
    if not len(digits):
        raise ValueError("drawn must have digits of the split train, got none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        reader = StrokeReader()
    optimizer = torch.optim.Adam(reader.parameters(), fused=True)
    batches = DataLoader(
        digits,
        BATCH_SIZE,
        shuffle=True,
        num_workers=config.workers,
        generator=torch.Generator().manual_seed(config.seed),
    )
    steps = config.epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, steps)
    with require("tqdm").tqdm(
        total=steps, desc="stroke reader", unit=" steps", disable=None if progress else True
    ) as bar:
        for epoch in range(config.epochs):
            digits.set_epoch(epoch)
            for drawings, labels in batches:
                loss = nn.functional.cross_entropy(reader(drawings), labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.update()
    return reader.eval()


@torch.no_grad()
def read_strokes(reader: StrokeReader, drawings: np.ndarray) -> np.ndarray:
    """Read digits.

    Args:
        reader: from `train_stroke_reader`.
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.

    Returns:
        (n,) int64, 0 to 9.
    """
    answers = [torch.zeros(0, dtype=torch.int64)]
    for some in torch.from_numpy(drawings).to(torch.float32).split(1000):
        answers.append(reader(some).argmax(dim=1))
    return torch.cat(answers).numpy()


def common_form(drawn: StrokeSet) -> StrokeSet:
    """Bring drawings to what pendigits keeps of its own: lifts drawn over, stretched to a square.

    Points are even along the path, as many as before. Drawings that are to be compared with
    people's must not be told from them by lifts or proportions, which the file of those has lost.
    """
    strokes = np.zeros_like(drawn.strokes)
    strokes[..., :2] = unit_box(path_points(drawn.strokes, strokes.shape[1]))
    strokes[:, -1, 2] = 1
    return replace(drawn, strokes=strokes)


def set_of(samples: Samples, split: str) -> StrokeSet:
    """Drawings of people in the form of exported ones; nothing is known of how good they are."""
    count = len(samples.labels)
    return StrokeSet(
        samples.strokes.numpy(),
        samples.labels.numpy(),
        np.arange(count),
        np.full(count, SPLITS.index(split)),
        np.zeros(count, bool),
        {},
        {"drawn_by": "people"},
    )
