"""Makes the pen's file of weights for the package from a run.

Its form is left to `checkpoint.py`, measuring to `legibility.py`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from handwriting import checkpoint as checkpoints
from handwriting.checkpoint import CHECKPOINT_NAME
from handwriting.legibility import LegibilityConfig, measure_legibility
from handwriting.synthesis import METHODS, NEATNESS, WEIGHTS

MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class ShipPenConfig:
    """Options of making the file.

    Attributes:
        run: folder of the run.
        made_by: the command that trained it, for people.
        strokes: the file of strokes that it learned from, for the figures of strings laid out from
            these; None: they are left out.
        out: the file; None: the one that `write` reads.
        count: strings to measure it on.
        data_dir: folder of the data, as for `measure_legibility`.
    """

    run: Path
    made_by: str
    strokes: Path | None = None
    out: Path | None = None
    count: int = 1000
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if not self.made_by.strip():
            raise ValueError(f"made_by must be a command, got {self.made_by!r}")
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")


def ship_pen(config: ShipPenConfig) -> Path:
    """Turn a run's checkpoint into a file of weights in float16, and note its figures in it.

    The training state of the file holds "made_by", what the run noted, and "measured": the figures
    of `measure_legibility` by method and for "learned", the strings that it learned from; and the
    versions and the neatness that they are for.

    Returns:
        The path of the file. It is printed, too.

    Raises:
        ValueError: the checkpoint is damaged, no pen's, has weights beyond float16, or the file
            would have more than MAX_BYTES; or the strokes are damaged.
        OSError: a file cannot be read or written.
    """
    source = config.run / CHECKPOINT_NAME
    checkpoints.load_pen(source)  # which names the run, if it is of another model
    run = checkpoints.load(source)
    weights = checkpoints.halve(run.weights, config.run, MAX_BYTES)
    training = {"made_by": config.made_by, **run.training}
    path = config.out or WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    halved = checkpoints.Checkpoint(run.config, weights, training=training)
    part = path.with_name(f".{path.stem}.part.safetensors")
    try:
        checkpoints.save(part, halved)
        common = {"count": config.count, "data_dir": config.data_dir}
        figures = {}
        if config.strokes is not None:  # first, for they may be damaged
            learned = LegibilityConfig(strokes=config.strokes, **common)
            figures["learned"] = measure_legibility(learned)
        for method in METHODS:
            written = LegibilityConfig(method, checkpoint=part, **common)
            figures[method] = measure_legibility(written)
    finally:
        part.unlink(missing_ok=True)
    versions = {name: version(name) for name in ("softraster", "torch", "numpy")}
    training["measured"] = {**figures, "neatness": NEATNESS, "versions": versions}
    checkpoints.save(path, dataclasses.replace(halved, training=training))
    print(path)
    return path
