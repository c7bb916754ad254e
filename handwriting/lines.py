"""Random lines and their images, drawn by OpenCV, for the neural line model to learn from.

A batch is a function of (seed, step), so worker processes can draw the next ones ahead while the
model trains, whatever their number, and a run can go on at any step.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from handwriting._extras import require
from handwriting.models.writer import IMAGE_SIZE

LIFTED_SHARE = 0.2

_ALL = slice(None)

# Steps that a worker draws in one go: to hand over a batch of 64 takes five times as long as to
# draw it, to hand over so many at once takes little more.
_CHUNK = 32


def draw_lines(seed: int, step: int, count: int, part: slice = _ALL) -> tuple[Tensor, Tensor]:
    """Draw a batch of random lines.

    The ends are uniform in the unit square; each end is lifted with probability LIFTED_SHARE. A
    line is `cv2.line`, a pixel wide, between the pixels that hold its ends. If its first end is
    lifted, nothing is drawn.

    Args:
        seed: at least 0.
        step: at least 0; each gives other lines.
        count: lines in the batch.
        part: of the batch that is drawn.

    Returns:
        Segments (n, 6) float32: x1, y1, lifted1, x2, y2, lifted2, lifted being 0 or 1; and
        their images (n, 28, 28) uint8 of 0 and 1, n being `count` or the part's size.

    Raises:
        ImportError: OpenCV is not installed.
    """
    line = require("cv2").line
    random = np.random.default_rng((seed, step))
    ends = random.random((count, 2, 2))[part]
    lifted = random.random((count, 2))[part] < LIFTED_SHARE
    images = np.zeros((len(ends), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    pixels = (IMAGE_SIZE * ends).astype(int).tolist()
    for number in np.flatnonzero(~lifted[:, 0]):
        line(images[number], *pixels[number], 1, 1)
    segments = np.concatenate((ends, lifted[..., None]), axis=2).reshape(-1, 6)
    return torch.from_numpy(segments.astype(np.float32)), torch.from_numpy(images)


def line_batches(
    seed: int, steps: range, count: int, workers: int, part: slice = _ALL
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the batches of `steps` in turn, drawn ahead by processes of their own.

    Args:
        seed: as in `draw_lines`.
        steps: whose batches.
        count: lines in a batch.
        part: of each batch that is drawn.
        workers: processes that draw; 0 draws in this one, when a batch is asked for.

    Returns:
        What `draw_lines` returns, for each step; the same for any number of workers. The processes
        end with the last batch, or when the iterator is dropped.
    """
    # Chunks as the sampler: the loader hands them to its workers in turn and gives what they drew
    # back in that order.
    loader = DataLoader(
        _Lines(seed, count, part),
        batch_size=None,
        sampler=[steps[start : start + _CHUNK] for start in range(0, len(steps), _CHUNK)],
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    for segments, images in loader:
        yield from zip(segments, images, strict=True)


class _Lines(Dataset):
    def __init__(self, seed: int, count: int, part: slice) -> None:
        self.seed, self.count, self.part = seed, count, part

    def __getitem__(self, steps: range) -> tuple[Tensor, Tensor]:
        segments, images = zip(
            *(draw_lines(self.seed, step, self.count, self.part) for step in steps), strict=True
        )
        return torch.stack(segments), torch.stack(images)


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Go on drawing at Ctrl-C, which a terminal sends to all: the parent still ends its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
