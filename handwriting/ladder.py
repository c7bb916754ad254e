"""The ladder of the post's experiments: what each rung trains, and how much of it at each scale.

A new rung is a line in RUNGS, and one in a scale's `rungs` if it needs its own share of time there.
A change that is tried on the way to a rung is a line in TRIALS.
Running the ladder is left to experiments.py, what its figures say of the post to claims.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handwriting.samples import AUTHOR, PENDIGITS

# The rung that trains nothing: it looks at what CONSTANT_MODEL draws for images of one value.
CONSTANT = "8"
CONSTANT_MODEL = "7"
CONSTANTS = (0.0, 0.25, 0.5, 0.75, 1.0)

# The post names no share; it calls the network large, and the change small.
_DROPOUT = 0.3
_LOSSES = {"turning_weight": 0.01, "length_weight": 0.01}


@dataclass(frozen=True)
class Rung:
    """A model of the ladder.

    Attributes:
        renderer, model, extras: what it is, in words for tables.
        options: fields of `TrainConfig` in which it differs from the post's first writer.
    """

    renderer: str
    model: str
    extras: str
    options: Mapping[str, Any] = field(default_factory=dict)


RUNGS = {
    "1": Rung("neural line model", "writer", "sum", {"renderer": "line_model"}),
    "2": Rung("soft lines", "writer", "sum"),
    "3": Rung("soft lines", "writer", f"dropout {_DROPOUT:g}", {"dropout": _DROPOUT}),
    "4": Rung("soft lines", "writer", "max", {"composite": "max"}),
    "5a": Rung("soft lines", "writer", "turning loss", {"turning_weight": 0.01}),
    "5b": Rung("soft lines", "writer", "turning and length losses", _LOSSES),
    "6": Rung("soft lines", "ensemble", "both losses", {"model": "ensemble", **_LOSSES}),
    "7": Rung(
        "soft lines",
        "ensemble",
        "both losses, collected strokes",
        {"model": "ensemble", **_LOSSES, "samples": AUTHOR, "epochs": 15},
    ),
    CONSTANT: Rung("-", f"rung {CONSTANT_MODEL}", "constant images"),
    "9": Rung(
        "soft lines",
        "ensemble",
        "turning loss, blurred images too, strokes of 30 people, their common ways, cosine",
        {
            **{"model": "ensemble", "turning_weight": 0.01, "blur": 1.0},
            **{"samples": PENDIGITS, "sample_scale": 3.0},
            **{"epochs": 20, "lr_schedule": "cosine"},
        },
    ),
}

_TURNING = {"model": "ensemble", "turning_weight": 0.01}
_BOTH = {**_TURNING, "blur": 1.0, "samples": PENDIGITS}

# From rung 6 to rung 9 one change at a time, with the epochs of rung 6. Named after rung 9, but no
# part of it: the ladder goes without them unless they are asked for.
TRIALS = {
    "9a": Rung("soft lines", "ensemble", "turning loss", _TURNING),
    "9b": Rung("soft lines", "ensemble", "9a, blurred images too", {**_TURNING, "blur": 1.0}),
    "9c": Rung(
        "soft lines", "ensemble", "9a, strokes of 30 people", {**_TURNING, "samples": PENDIGITS}
    ),
    "9d": Rung("soft lines", "ensemble", "9b and 9c", _BOTH),
    "9e": Rung(
        "soft lines", "ensemble", "9d, of strokes the common ways", {**_BOTH, "sample_scale": 3.0}
    ),
    "9f": Rung(
        "soft lines", "ensemble", "9d, step size along a cosine", {**_BOTH, "lr_schedule": "cosine"}
    ),
}
# The rungs that trials are compared with: where they start, and what came of them.
TRIALS_FROM, TRIALS_TO = "6", "9"


@dataclass(frozen=True)
class Scale:
    """How much of the ladder is done.

    Attributes:
        text: what it is, in words for tables.
        seeds: runs of a rung, with seeds 0, 1, ...; `seeds_of` has other numbers for some rungs,
            trials have one.
        test_digits: drawings that are measured; None: all of the test digits.
        line_model: fields of `LineTrainConfig`.
        models: fields of `TrainConfig` for a model, by its name. A rung's own options go before
            these, and those in `rungs`, by the rung's name, before both.
        references: names of REFERENCES that are measured.
    """

    text: str
    seeds: int
    test_digits: int | None
    line_model: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    rungs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds_of: Mapping[str, int] = field(default_factory=dict)
    references: tuple[str, ...] = ()

    def options(self, name: str) -> dict[str, Any]:
        """Fields of `TrainConfig` for a rung, but those that say where and on what machine."""
        own = find(name).options
        model = own.get("model", "writer")
        return {**self.models[model], **own, **self.rungs.get(name, {})}

    def runs(self, name: str) -> int:
        """How many runs a rung or a trial has."""
        return 1 if name in TRIALS else self.seeds_of.get(name, self.seeds)


# Drawings that no rung draws, by name; values are fields of `EvaluateConfig`.
REFERENCES: dict[str, Mapping[str, Any]] = {
    "tracer": {"tracer": True},
    "tracer, the 32 drawings as templates": {"tracer": True, "templates": AUTHOR},
    "tracer, pendigits as templates": {"tracer": True, "templates": "pendigits"},
    "people": {"people": True},
}

SCALES = {
    # Within 25 minutes on two cores: the training minutes add up to 18, measuring takes 4 to 6.
    "quick": Scale(
        text="a part of the digits, a writer of 128 units in place of 512, batches of 16",
        seeds=1,
        test_digits=1000,
        line_model={"images": 200_000, "minutes": 2.5},
        models={
            "writer": {
                **{"units": 128, "batch_size": 16, "lr": 1e-3, "limit": 20_000},
                **{"epochs": 3, "minutes": 1.15},
            },
            "ensemble": {"limit": 20_000, "epochs": 5, "minutes": 1.0},
        },
        rungs={
            "1": {"epochs": 2, "minutes": 3},
            "7": {"epochs": 6, "minutes": 2.25},
            "9": {"epochs": 6, "minutes": 1.35},
        },
        seeds_of={"2": 2, "6": 2},
        references=("tracer", "tracer, the 32 drawings as templates", "people"),
    ),
    "full": Scale(
        text="the post's: 5 epochs of 60,000 digits, 15 with collected strokes",
        seeds=2,
        test_digits=None,
        line_model={},
        models={"writer": {}, "ensemble": {}},
        references=tuple(REFERENCES),
    ),
}


def find(name: str) -> Rung:
    """The rung or trial of that name."""
    return RUNGS[name] if name in RUNGS else TRIALS[name]


def select(names: Iterable[str]) -> list[str]:
    """Rungs and trials that have these names or, like "5" for the rungs 5a and 5b, numbers.

    Returns:
        Names in the order of RUNGS and TRIALS.

    Raises:
        ValueError: none has the name.
    """
    chosen = set()
    for name in names:
        matching = [rung for rung in RUNGS if name in (rung, rung.rstrip("abc"))]
        matching += [trial for trial in TRIALS if name == trial]
        if not matching:
            raise ValueError(f"rungs must be of {', '.join([*RUNGS, *TRIALS])}, got {name!r}")
        chosen.update(matching)
    return [name for name in (*RUNGS, *TRIALS) if name in chosen]
