"""`HandwrittenDigits`: exported strokes as a dataset for torch.

Files are left to `formats.py`, changes of drawings to `transforms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from handwriting.formats import SPLITS, StrokeSet, load_strokes
from handwriting.stroke3 import to_stroke3

FORMS = ("points", "stroke3")

# A drawing (P, 3) of x, y, lifted, and a source of random numbers, to a drawing (Q, 3).
Transform = Callable[[Tensor, torch.Generator], Tensor]


class HandwrittenDigits(Dataset):
    """Digits as pen strokes, from a file that `export` wrote.

    An item is a drawing, (P, 3) float32, and its label, an int from 0 to 9. P is 20 in files of the
    shipped models. The columns are x, y, lifted: in units of the canvas side, 0 to 1, y down, and 1
    where the pen is lifted after this point; or, as "stroke3", dx, dy, lifted, the way from the
    point before, the first one's from (0, 0).

    Random transforms draw from a generator of their own for each item, made from the seed, the
    epoch and the place of the item: so items are the same for any number of DataLoader workers and
    any order, and others in the next epoch.

    Attributes:
        strokes: (n, P, 3) float32, x, y, lifted, before any transform.
        labels: (n,) int64.
        index: (n,) int64, place of each digit in its half of MNIST.
        failed: (n,) bool, those that are badly drawn.
        quality: (n,) float32 arrays by the names of the metrics; empty for a stroke-3 file.
        meta: what drew them, from what.

    Example:
        >>> digits = HandwrittenDigits("digits.h5", transform=[Slant(), Speed()])
        >>> for strokes, labels in DataLoader(digits, batch_size=64, shuffle=True, num_workers=2):
    """

    def __init__(
        self,
        file: Path | str | StrokeSet,
        split: str = "train",
        *,
        form: str = "points",
        failed: bool = True,
        transform: Transform | Sequence[Transform] = (),
        seed: int = 0,
    ) -> None:
        """Read the file, all of it.

        Args:
            file: an .npz, .h5 or stroke-3 .npz file, or what `formats.load_strokes` read.
            split: "train", "test", or "all".
            form: "points" or "stroke3", of the items, whatever the file's.
            failed: False leaves badly drawn digits out.
            transform: from `transforms.py` or like those, one or several, applied in their order.
            seed: of the transforms, 0 or more.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged, or an option is none of those above.
        """
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split must be train, test or all, got {split!r}")
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        drawn = file if isinstance(file, StrokeSet) else load_strokes(file)
        which = np.ones(len(drawn), bool) if split == "all" else drawn.split == SPLITS.index(split)
        if not failed:
            which &= ~drawn.failed
        drawn = drawn.select(which)
        self.strokes = torch.from_numpy(drawn.strokes)
        self.labels = torch.from_numpy(drawn.label)
        self.index, self.failed = torch.from_numpy(drawn.index), torch.from_numpy(drawn.failed)
        self.quality, self.meta = drawn.quality, drawn.meta
        self.form, self.seed = form, seed
        self.transforms = (transform,) if callable(transform) else tuple(transform)
        # In shared memory, so that workers which outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of the transforms; to be called before each pass."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """The number of drawings."""
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        """A drawing, (P, 3) float32, and its label."""
        drawing = self.strokes[place]
        if self.transforms:
            generator = self._generator(range(len(self))[place])
            for transform in self.transforms:
                drawing = transform(drawing, generator)
        if self.form == "stroke3":
            drawing = torch.from_numpy(to_stroke3(drawing.numpy()))
        # Without a transform it would be a view, which a caller could change the dataset by.
        return drawing.clone(), int(self.labels[place])

    def _generator(self, place: int) -> torch.Generator:
        mixed = np.random.SeedSequence([self.seed, int(self._epoch), place])
        return torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0] >> 1))
