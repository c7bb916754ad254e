"""A small network that reads thinned digits, to tell whether what was drawn is legible.

Trained once on thinned training digits, always in the same way, and kept in the cache folder. It
never sees a drawing before it judges one.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from handwriting._extras import require
from handwriting.checkpoint import CheckpointError, load_tensors, save_tensors
from handwriting.data import Digits, cache_folder

# Part of the cache's key: raise it when the network or its training changes.
_VERSION = 1

EPOCHS = 3
BATCH_SIZE = 128
PEAK_LR = 3e-3
SEED = 0


class Reader(nn.Sequential):
    """Two convolutions of 5x5 (8 and 16 channels), each with a 2x2 maximum, and two dense layers.

    Input (B, 1, 28, 28), 0 is ground and 1 is ink; output (B, 10), scores of the classes.
    """

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(16 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


def load_reader(digits: Digits, *, progress: bool = True) -> Reader:
    """The reader for a training set, from the cache or trained now, for half a minute.

    Seeds and order are fixed, so the same digits on the same machine and threads give the same
    weights. Trained on the 60,000 thinned digits of MNIST it reads 97.8 % of the test digits.

    Args:
        digits: thinned digits to learn from, from `load_thinned("train")`.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        ImportError: safetensors or tqdm is not installed.
    """
    content = digits.images.numpy().tobytes() + digits.labels.numpy().tobytes()
    key = hashlib.sha256(f"{_VERSION} {digits.images.shape}".encode() + content).hexdigest()[:32]
    path = cache_folder() / f"reader-{key}.safetensors"
    reader = _cached(path)
    if reader is None:
        print(f"Training a reader of digits, once; kept in {path}", file=sys.stderr)
        reader = train_reader(digits, progress=progress)
        _keep(path, reader)
    return reader.eval()


def train_reader(digits: Digits, *, progress: bool = True) -> Reader:
    """Train a reader: EPOCHS passes, Adam under a one-cycle schedule, shifts of up to a pixel."""
    count = len(digits.images)
    batches = -(-count // BATCH_SIZE)
    random = np.random.default_rng(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, EPOCHS * batches)
    bar = require("tqdm").trange(
        EPOCHS * batches, desc="reader", unit=" steps", disable=None if progress else True
    )
    for step in bar:
        if step % batches == 0:
            order = torch.from_numpy(random.permutation(count))
        start = step % batches * BATCH_SIZE
        which = order[start : start + BATCH_SIZE]
        shift = tuple(random.integers(-1, 2, size=2).tolist())
        images = digits.images[which, None].to(torch.float32).roll(shift, (2, 3))
        loss = nn.functional.cross_entropy(reader(images), digits.labels[which])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader


@torch.no_grad()
def read(reader: Reader, images: np.ndarray) -> np.ndarray:
    """Read digits.

    Args:
        reader: from `load_reader`.
        images: (n, 28, 28), 0 is ground and 1 is ink.

    Returns:
        (n,) int64, 0 to 9.
    """
    answers = [torch.zeros(0, dtype=torch.int64)]
    for some in torch.from_numpy(images).split(500):
        answers.append(reader(some[:, None].to(torch.float32)).argmax(dim=1))
    return torch.cat(answers).numpy()


def _cached(path: Path) -> Reader | None:
    """The reader kept at `path`, or None if there is none or, with a warning, no sound one."""
    if not path.exists():
        return None
    try:
        return reader_of(path)
    except (OSError, ValueError) as error:
        warnings.warn(f"{path}: cannot be used ({error}), training again", stacklevel=3)
        return None


def reader_of(path: Path) -> Reader:
    """The reader of a file of tensors.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is damaged, or holds something else.
    """
    reader = Reader()
    try:
        reader.load_state_dict(load_tensors(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its weights are not a reader's") from error
    return reader


def _keep(path: Path, reader: Reader) -> None:
    try:
        save_tensors(path, reader.state_dict(), {})
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error}), not kept", stacklevel=3)
