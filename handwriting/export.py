"""What a trained model draws for MNIST's digits, as a file of strokes.

The file's form is that of `samples.py`. The model's file is left to `checkpoint.py`, the digits to
`data.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from handwriting._extras import require
from handwriting.checkpoint import load_writer
from handwriting.data import Split, load_thinned
from handwriting.samples import save_samples
from handwriting.strokes import pen_lifted

SPLITS: dict[str, tuple[Split, ...]] = {
    "train": ("train",),
    "test": ("test",),
    "all": ("train", "test"),
}

_BATCH = 250


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export.

    Attributes:
        checkpoint: file of the model.
        out: the .npz file.
        data_dir: folder of the MNIST files, None for what `data.load_thinned` finds.
        split: "train", "test", or "all" for the one and then the other.
        limit: the first so many digits only; None: all.
    """

    checkpoint: Path
    out: Path
    data_dir: Path | None = None
    split: str = "test"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.out.suffix != ".npz":
            raise ValueError(f"out must be the name of a .npz file, got {self.out}")
        if self.split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")


def export(config: ExportConfig) -> Path:
    """Write what a model draws for the digits of a split, in their order.

    The .npz holds `strokes` (n, P, 3) float32: x, y in units of the canvas side, and 1 where the
    pen is lifted after this point; and `label` (n,) int64.

    Returns:
        The path of the file. It is printed, too.

    Raises:
        ValueError: the checkpoint or the data is damaged.
        OSError: a file cannot be read or written.
    """
    writer = load_writer(config.checkpoint)
    halves = [load_thinned(split, config.data_dir) for split in SPLITS[config.split]]
    images = torch.cat([half.images for half in halves])[: config.limit]
    labels = torch.cat([half.labels for half in halves])[: config.limit]
    drawings = write_digits(writer, images, labels, progress=True)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    save_samples(config.out, list(drawings), labels.tolist())
    print(config.out)
    return config.out


@torch.no_grad()
def write_digits(
    writer: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    progress: bool = False,
) -> np.ndarray:
    """Draw digits with a model.

    Args:
        writer: images (B, 28, 28) float32 and labels (B,) to strokes (B, P, 3) of x, y, softness.
        images: (n, 28, 28) of 0 and 1, thinned digits.
        labels: (n,), 0 to 9.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        (n, P, 3) float32: x, y, and 1 where the pen is lifted after this point, by `pen_lifted`;
        after the last point it is.
    """
    drawings = []
    batches = list(zip(images.split(_BATCH), labels.split(_BATCH), strict=True))
    for some, their_labels in require("tqdm").tqdm(
        batches, desc="writing", unit=" batches", disable=None if progress else True
    ):
        strokes = writer(some.to(torch.float32), their_labels)
        flags = torch.ones_like(strokes[..., :1])
        flags[:, :-1, 0] = pen_lifted(strokes).to(flags.dtype)
        drawings.append(torch.cat((strokes[..., :2], flags), dim=2).numpy())
    return np.concatenate(drawings)
