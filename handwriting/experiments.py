"""Runs the ladder of the post's experiments, measures every rung, and goes on where it stopped.

One folder holds all of it: experiments.json with what is done, experiments.md with its tables,
figures, and in `runs` a folder for each training run. What the rungs are is left to ladder.py,
training to train.py, what is found out about a model to findings.py, tables to tables.py. Of
several processes the first does it all, and the others help it to train.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handwriting import checkpoint as checkpoints
from handwriting import tables
from handwriting.checkpoint import CHECKPOINT_NAME
from handwriting.data import load_thinned
from handwriting.evaluate import EvaluateConfig, evaluate
from handwriting.files import pack_json, write_atomically
from handwriting.findings import (
    KEPT,
    STROKES_NAME,
    compare_runs,
    draw_run,
    measure_constants,
    measure_line_model,
    measure_run,
)
from handwriting.ladder import (
    CONSTANT,
    CONSTANT_MODEL,
    REFERENCES,
    RUNGS,
    SCALES,
    TRIALS,
    find,
    select,
)
from handwriting.ranks import joined, ranks
from handwriting.resuming import hold
from handwriting.running import pick_device
from handwriting.samples import AUTHOR, OWN, load_samples
from handwriting.tables import FIGURES
from handwriting.train import TrainConfig, train
from handwriting.train_lines import LineTrainConfig, train_line_model

RESULTS_NAME = "experiments.json"
_OUT = Path("results")


@dataclass(frozen=True)
class ExperimentsConfig:
    """Options of the experiments.

    Attributes:
        scale: name of one of SCALES.
        rungs: names of RUNGS or TRIALS, or numbers of rungs; None: all rungs, or none if `trials`.
            Others' results are kept.
        trials: all of TRIALS, too.
        out: folder of the results; one that holds some is gone on with. None: results for the full
            scale, results/NAME for another.
        data_dir: folder of the data, None for what `load_thinned` and `load_pendigits` find.
        seeds: runs of each rung; None: the scale's.
        minutes: training time of a run, after which it counts as done; None: the scale's. A run
            that had less time than that goes on.
        page: a page whose tables are renewed, too, as `tables.write_tables` does; None: none.
        device: for training: "cpu", "cuda" or the like; None: CUDA if there is a device, else the
            CPU.
    """

    scale: str = "quick"
    rungs: tuple[str, ...] | None = None
    trials: bool = False
    out: Path | None = None
    data_dir: Path | None = None
    seeds: int | None = None
    minutes: float | None = None
    page: Path | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale must be {' or '.join(SCALES)}, got {self.scale!r}")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be greater than 0 and finite, got {self.minutes}")
        self.chosen()

    def chosen(self) -> list[str]:
        """Names of the rungs and trials to do, in their order."""
        rungs = self.rungs or (() if self.trials else RUNGS)
        return select([*rungs, *(TRIALS if self.trials else ())])

    @property
    def folder(self) -> Path:
        """`out`, or what it is by default."""
        return self.out or (_OUT if self.scale == "full" else _OUT / self.scale)


@dataclass(frozen=True)
class ExperimentsResult:
    """How the experiments stood when they stopped.

    Attributes:
        path: experiments.json, which the first of several processes writes.
        signal: number of the signal that interrupted training, or None.
    """

    path: Path
    signal: int | None = None


def run_experiments(config: ExperimentsConfig) -> ExperimentsResult:
    """Do what is left to do of the ladder.

    References first, then the line model if a rung needs it, then all rungs with seed 0, with
    seed 1 and so on. After each of these experiments.json and the tables are written anew, so that
    whatever stops it, the same call goes on from there; a run in training goes on from its
    checkpoint. Where torchrun has started several processes, they train each model together; the
    others wait while the first one measures.

    Raises:
        ValueError: the folder holds results of another scale or of other options; or it is damaged;
            or a rung needs one that is neither done nor asked for.
        OSError: the data cannot be read or the folder cannot be written.
        BlockingIOError: another process does experiments in the folder.
        FloatingPointError: a loss is not finite.
        LostRankError: another of several processes has ended.
    """
    with ranks() as team:
        if not team.first:
            last = team.follow()
            return ExperimentsResult(config.folder / RESULTS_NAME, last and last.signal)
        with team.leading():
            (config.folder / "runs").mkdir(parents=True, exist_ok=True)
            with hold(config.folder / "runs"):
                return _run(config)


def _run(config: ExperimentsConfig) -> ExperimentsResult:
    rungs, work = config.chosen(), _Experiments(config)
    if CONSTANT in rungs and CONSTANT_MODEL not in {*rungs, *work.results["runs"]}:
        raise ValueError(f"rung {CONSTANT} needs rung {CONSTANT_MODEL}, which is not there")
    work.measure_references()
    trained = [rung for rung in rungs if rung != CONSTANT]
    if any(_is_by_net(work.scale.options(rung)) for rung in trained):
        signal = work.train_line_model()
        if signal is not None:
            return ExperimentsResult(work.path, signal)
    seeds = {rung: config.seeds or work.scale.runs(rung) for rung in rungs}
    for seed in range(max(seeds.values())):
        for rung in trained:
            signal = work.climb(rung, seed) if seed < seeds[rung] else None
            if signal is not None:
                return ExperimentsResult(work.path, signal)
        if CONSTANT in rungs and seed == 0:
            work.draw_constants()
    work.save()
    print(*(path for path in (work.path, work.table, config.page) if path), sep="\n")
    return ExperimentsResult(work.path)


class _Experiments:
    """The results so far, and what adds to them."""

    def __init__(self, config: ExperimentsConfig) -> None:
        self.config, self.scale, self.out = config, SCALES[config.scale], config.folder
        self.path, self.table = self.out / RESULTS_NAME, self.out / "experiments.md"
        self.line_model = self.out / "runs" / "line_model"
        self.results = self._load()
        pick_device(config.device)  # a device that is not there is said before anything is done
        self.train_count = len(load_thinned("train", config.data_dir).labels)

    def _load(self) -> dict[str, Any]:
        if not self.path.exists():
            return tables.no_results(self.config.scale)
        held = tables.read_results(self.path)
        if held["scale"] != self.config.scale:
            raise ValueError(
                f"{self.path} holds results of the scale {held['scale']}, not {self.config.scale}; "
                "give another folder as out"
            )
        return held

    def save(self) -> None:
        """Write experiments.json and the tables."""
        self._write(self.path, pack_json(self.results, indent=1))
        self._write(self.table, tables.report(self.results, self.out).encode())
        if self.config.page is not None:
            tables.write_tables(self.config.page, self.path)

    def measure_references(self) -> None:
        """Measure drawings that no rung draws."""
        for name in self.scale.references:
            if name in self.results["references"]:
                continue
            print(f"\n{name}")
            common = {"data_dir": self.config.data_dir, "limit": self.scale.test_digits}
            try:
                result = evaluate(EvaluateConfig(**REFERENCES[name], **common))
            except FileNotFoundError as error:
                warnings.warn(f"{name}: left out ({error})", stacklevel=2)
                continue
            self.results["references"][name] = {key: result[key] for key in KEPT}
            self.save()

    def train_line_model(self) -> int | None:
        """Train the neural renderer; the signal that stopped it."""
        if self.results["line_model"] is not None:
            return None
        print("\nneural line model")
        options = dict(self.scale.line_model)
        if self.config.minutes is not None:
            options["minutes"] = self.config.minutes
        config = LineTrainConfig(out=self.line_model, device=self.config.device, **options)
        result = joined().call(train_line_model, config)
        if result.signal is not None:
            return result.signal
        self.results["line_model"] = {
            "lines": min(result.step * config.batch_size, config.images),
            "planned_lines": config.images,
            **_training(result.path),
            **measure_line_model(result.path, self._figure("line_model"), self.config.data_dir),
        }
        self.save()
        return None

    def climb(self, rung: str, seed: int) -> int | None:
        """Train and measure a rung with a seed, unless that is done; the signal that stopped it."""
        options = self.scale.options(rung)
        minutes = options.pop("minutes", None)
        if self.config.minutes is not None:
            minutes = self.config.minutes
        if options.get("samples") == AUTHOR:
            options["samples"] = self._samples()
        if self._is_done(rung, seed, options, minutes):
            return None
        print(f"\nrung {rung}, seed {seed}: {find(rung).model}, {find(rung).extras}")
        folder = self._run_folder(rung, seed)
        config = TrainConfig(
            out=folder,
            data_dir=self.config.data_dir,
            seed=seed,
            minutes=minutes,
            device=self.config.device,
            line_model=self.line_model / CHECKPOINT_NAME if _is_by_net(options) else None,
            **options,
        ).with_defaults()
        result = joined().call(train, config)
        if result.signal is not None:
            return result.signal
        digits = min(config.limit or self.train_count, self.train_count)
        record = {
            "options": options,
            "units": config.units,
            "digits": digits,
            "steps": result.step,
            "epoch_steps": -(-digits // config.batch_size),
            "epochs": config.epochs,
            "test_mse": result.test_mse,
            **_training(result.path),
            **measure_run(result.path, self.config.data_dir, self.scale.test_digits),
        }
        runs = self.results["runs"].setdefault(rung, {})
        runs[str(seed)] = record
        files = [self._run_folder(rung, int(done)) / STROKES_NAME for done in sorted(runs, key=int)]
        if len(files) > 1:
            self.results["variation"][rung] = compare_runs(files)
        if seed == 0 and rung in RUNGS:
            figure = self._figure(f"rung{rung}")
            draw_run(result.path, figure, self.config.data_dir, config.line_model)
            if rung == CONSTANT_MODEL:
                self.results["constant"] = {}
        self.save()
        return None

    def _is_done(
        self, rung: str, seed: int, options: dict[str, Any], minutes: float | None
    ) -> bool:
        record = self.results["runs"].get(rung, {}).get(str(seed))
        if record is None:
            return False
        if record["options"] != options:
            raise ValueError(
                f"{self.path}: rung {rung} was run with {record['options']}, not {options}; "
                "give another folder as out"
            )
        complete = record["steps"] >= record["epochs"] * record["epoch_steps"]
        return complete or (minutes is not None and record["minutes"] >= minutes)

    def _samples(self) -> str:
        """What stands for the author's drawings: they, or the project's own where they are not."""
        try:
            load_samples(AUTHOR, self.config.data_dir)
        except FileNotFoundError as error:
            warnings.warn(f"the project's own drawings stand in: {error}", stacklevel=3)
            return OWN
        return AUTHOR

    def draw_constants(self) -> None:
        """What the model of rung 7 draws for images of one value, for every digit."""
        if self.results["constant"]:
            return
        print(f"\nrung {CONSTANT}: constant images")
        path = self._run_folder(CONSTANT_MODEL, 0) / CHECKPOINT_NAME
        self.results["constant"] = measure_constants(path, self._figure(f"rung{CONSTANT}"))
        self.save()

    def _run_folder(self, rung: str, seed: int) -> Path:
        return self.out / "runs" / f"{rung}-{seed}"

    def _figure(self, name: str) -> Path:
        return self.out / FIGURES / f"{name}.png"

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


def _training(checkpoint: Path) -> dict[str, Any]:
    """How long a run trained, and on what, as far as its checkpoint says."""
    training = checkpoints.load(checkpoint).training
    return {"minutes": training["elapsed"] / 60, **(training.get("machine") or {})}


def _is_by_net(options: Mapping[str, Any]) -> bool:
    return options.get("renderer") == "line_model"
