"""Results of the experiments as Markdown: the ladder's tables, and an answer to every claim.

Numbers come from experiments.json alone; what has no result is "not run". The page that explains
them is docs/experiments.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from handwriting.claims import CLAIMS, NOT_RUN, Check, Claim, Subject, answer, values, verdict
from handwriting.files import unpack_json
from handwriting.ladder import (
    CONSTANT,
    CONSTANT_MODEL,
    REFERENCES,
    RUNGS,
    SCALES,
    TRIALS,
    TRIALS_FROM,
    TRIALS_TO,
    find,
)
from handwriting.pages import fill_page, table

FIGURES = "figures"

_INK = ("f1", "iou", "chamfer", "hd95", "failed", "abuse", "redundancy", "cnn")
_MANNER = ("retrace", "crossings", "turn_cos", "sharp", "lifts", "variation")
_PEOPLE = (
    *("dtw", "forward", "recovery_dtw", "recovery_direction", "recovery_start"),
    "recovery_strokes",
)
_TRIAL = ("f1", "failed", "abuse", "redundancy", "cnn")
_TRIAL += ("recovery_dtw", "recovery_direction", "recovery_start")
_SHARES = {
    *("failed", "abuse", "retrace", "cnn", "forward", "recovery_direction", "recovery_start"),
    "recovery_strokes",
}
_DIGITS = {"chamfer": 2, "hd95": 2, "redundancy": 2, "sharp": 2, "lifts": 2, "crossings": 2}
_DIGITS |= {"height": 1, "unlike_ones": 2, "variation": 2, "recovery_dtw": 2}
_DIGITS |= {"mse": 4, "minutes": 1}
_RELATIONS = {"more": ">", "less": "<", "as much": "≈"}


def no_results(scale: str) -> dict[str, Any]:
    """Contents of experiments.json before anything is done."""
    done = {"references": {}, "line_model": None, "runs": {}, "constant": {}, "variation": {}}
    return {"scale": scale, **done}


def report(results: dict[str, Any], folder: Path) -> str:
    """The blocks, with headings, as a page in `folder`, the folder of the results.

    Trials have none there before one is done: the ladder goes without.
    """
    made = blocks(results, folder, folder)
    if TRIALS.keys().isdisjoint(results["runs"]):
        del made["trials"]
    parts = [f"# Experiments, scale {results['scale']}"]
    for name, text in made.items():
        parts += [f"## {name.replace('-', ' ').capitalize()}", text]
    return "\n\n".join(parts) + "\n"


def write_tables(page: Path | str, results: Path | str) -> None:
    """Put the blocks of experiments.json between the markers of a page.

    A block's place is between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands
    there is replaced. Names are the keys of `blocks`.

    Args:
        page: a Markdown file, changed in place.
        results: experiments.json; pictures are sought in the folder `figures` beside it.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the page has no markers, or a begin without an end or of an unknown name; or
            the results are damaged.
    """
    page, results = Path(page), Path(results)
    held = read_results(results)
    try:
        made = blocks(held, results.parent, page.parent)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{results}: not results of experiments ({error!r})") from error
    fill_page(page, made)


def read_results(path: Path) -> dict[str, Any]:
    """Contents of experiments.json.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or something else.
    """
    try:
        held = unpack_json(path)
        if held.keys() != no_results("").keys():
            raise ValueError(f"it holds {', '.join(held)}")
    except ValueError as error:
        raise ValueError(f"{path}: not results of experiments ({error})") from error
    return held


def blocks(results: dict[str, Any], folder: Path, base: Path) -> dict[str, str]:
    """Markdown by name: "training", "ink", "manner", "people", "trials", then the names of CLAIMS.

    Args:
        results: contents of experiments.json.
        folder: where it lies.
        base: folder of the page, from which pictures are linked.
    """
    made = {
        "training": _training(results),
        "ink": _figures(results, _INK),
        "manner": _figures(results, _MANNER),
        "people": _figures(results, _PEOPLE),
        "trials": _trials(results),
    }
    for name, claim in CLAIMS.items():
        made[name] = _claim(results, claim, folder, base)
    return made


def _training(results: dict[str, Any]) -> str:
    rows = []
    for name, rung in RUNGS.items():
        runs = results["runs"].get(name, {})
        what = [name, rung.renderer, rung.model, rung.extras]
        if name == CONSTANT:
            rows.append([*what, *5 * ["-"], "-" if results["constant"] else NOT_RUN])
            continue
        if not runs:
            rows.append([*what, *6 * [NOT_RUN]])
            continue
        one = runs[min(runs, key=int)]
        if one["options"].get("samples"):
            what[3] += f" ({one['options']['samples']})"
        seeds, units, digits = ", ".join(runs), str(one["units"]), f"{one['digits']:,}"
        rows.append([*what, seeds, units, digits, *_progress(runs)])
    head = ["rung", "renderer", "model", "extras", "seeds", "units", "digits", "epochs"]
    text = f"Scale {results['scale']}: {SCALES[results['scale']].text}. "
    text += _machine(results) + "\n\n" + table([*head, "test mse", "minutes"], rows)
    return text + "\n\n" + _line_model(results["line_model"])


def _progress(runs: dict[str, Any]) -> list[str]:
    """Epochs, test mse and minutes of a rung's runs."""
    epochs = min(run["epochs"] for run in runs.values())
    done = min(run["steps"] / run["epoch_steps"] for run in runs.values())
    return [
        f"{done:.3g}" + (f" of {epochs}" if done < epochs else ""),
        _spread([run["test_mse"] for run in runs.values()], "mse"),
        _spread([run["minutes"] for run in runs.values()], "minutes"),
    ]


def _trials(results: dict[str, Any]) -> str:
    rows = []
    for name in (TRIALS_FROM, *TRIALS, TRIALS_TO):
        runs = results["runs"].get(name, {})
        progress = _progress(runs) if runs else 3 * [NOT_RUN]
        label = name if name in TRIALS else f"rung {name}"
        rows.append([label, find(name).extras, *progress, *_cells(results, name, _TRIAL)])
    return table(["trial", "extras", "epochs", "test mse", "minutes", *_TRIAL], rows)


def _machine(results: dict[str, Any]) -> str:
    runs = [run for by_seed in results["runs"].values() for run in by_seed.values()]
    if not runs:
        return f"Training: {NOT_RUN}."
    # Runs of which the training is older than its record of the machine have no device.
    devices = sorted({run["device"] for run in runs if "device" in run}) or ["an unknown machine"]
    counts = sorted({run["count"] for run in runs})
    versions = sorted(
        {", ".join(f"{name} {v}" for name, v in run["versions"].items()) for run in runs}
    )
    measured = " or ".join(f"{count:,}" for count in counts)
    return (
        f"Trained on {' and '.join(devices)}; measured on the first {measured} test digits; "
        f"{'; '.join(versions)}."
    )


def _line_model(record: dict[str, Any] | None) -> str:
    if record is None:
        return f"Neural line model: {NOT_RUN}."
    return (
        f"Neural line model: {record['lines']:,} lines in {record['minutes']:.1f} minutes; squared "
        f"error on new lines {record['mse']:.4f}, where drawing nothing has "
        f"{record['empty_mse']:.4f}; where a line is, it draws {record['on_line']:.2f} on average. "
        "Digits that the tracer has drawn, their lines made by this net, have a squared error of "
        f"{record['traced_mse']:.4f} as the sum of segments and {record['traced_max_mse']:.4f} as "
        f"the maximum, a blank page {record['blank_mse']:.4f}."
    )


def _figures(results: dict[str, Any], metrics: tuple[str, ...]) -> str:
    rows = []
    for name in SCALES[results["scale"]].references:
        found = results["references"].get(name, {}).get("figures")
        cells = len(metrics) * [NOT_RUN]
        if found is not None:
            cells = [_cell(found.get(metric), metric) for metric in metrics]
        rows.append([name, *cells])
    for rung in RUNGS:
        if rung == CONSTANT:
            continue
        rows.append([f"rung {rung}", *_cells(results, rung, metrics)])
    return table(["drawings", *metrics], rows)


def _cells(results: dict[str, Any], rung: str, metrics: tuple[str, ...]) -> list[str]:
    empty = "-" if rung in results["runs"] else NOT_RUN
    found = {metric: values(results, metric, Subject(rung)) for metric in metrics}
    return [_spread(some, metric) if some else empty for metric, some in found.items()]


def _claim(results: dict[str, Any], claim: Claim, folder: Path, base: Path) -> str:
    answers = [answer(check, results) for check in claim.checks]
    rows = [
        [
            f"{check.metric}: {_subject(check.left)} {_RELATIONS[check.relation]} "
            f"{_subject(check.right)}",
            _cell(found.left, check.metric),
            _cell(found.right, check.metric),
            _cell(found.spread, check.metric),
            found.verdict,
        ]
        for check, found in zip(claim.checks, answers, strict=True)
    ]
    checks = table(["should be", "left", "right", "between seeds", "verdict"], rows)
    parts = [f"**{claim.text}** *{verdict(answers).capitalize()}.*", checks]
    parts += _uneven(results, claim.checks)
    for name in claim.pictures:
        for suffix, what in ((".png", "in three rows"), (".gif", "as it is written")):
            path = folder / FIGURES / f"{name}{suffix}"
            if path.exists():
                link = Path(os.path.relpath(path, base)).as_posix()
                parts.append(f"![{name}, {what}]({link})")
    return "\n\n".join(parts)


def _uneven(results: dict[str, Any], checks: tuple[Check, ...]) -> list[str]:
    """A note where a claim compares rungs that trained for unlike numbers of digits."""
    names = {one.rung for check in checks for one in (check.left, check.right)} - {CONSTANT}
    seen = {}
    for name in sorted(names):
        for run in results["runs"].get(name, {}).values():
            seen[name] = min(
                seen.get(name, float("inf")), run["digits"] * run["steps"] / run["epoch_steps"]
            )
    if len(seen) < 2 or max(seen.values()) <= 1.1 * min(seen.values()):
        return []
    counts = ", ".join(f"rung {name} {count:,.0f}" for name, count in seen.items())
    return [f"Not after the same training; digits seen: {counts}."]


def _subject(subject: Subject) -> str:
    name = subject.rung if subject.rung in REFERENCES else f"rung {subject.rung}"
    if subject.constant is not None:
        return f"rung {CONSTANT_MODEL} on images of {float(subject.constant):g}"
    return name + (f", {'/'.join(map(str, subject.classes))}" if subject.classes else "")


def _spread(numbers: list[float | None], metric: str) -> str:
    """The mean, and of several half the way between their extremes."""
    if None in numbers:
        return "-"
    text = _cell(sum(numbers) / len(numbers), metric)
    if len(numbers) < 2:
        return text
    return f"{text} ± {_cell((max(numbers) - min(numbers)) / 2, metric).removesuffix(' %')}"


def _cell(number: float | None, metric: str) -> str:
    if number is None:
        return "-"
    if metric in _SHARES:
        return f"{100 * number:.1f} %"
    return f"{number:.{_DIGITS.get(metric, 3)}f}"
