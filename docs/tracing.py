"""Measures tracing on made photographs and draws the pictures of docs/tracing.md.

    python docs/tracing.py [--photos 25] [--own] [--out docs/images] [--page docs/tracing.md]

Needs pendigits (SOFTRASTER_DATA) unless --own. The same arguments give the same photographs.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from handwriting import metrics, people
from handwriting.cutting import find_digits
from handwriting.frame import to_frame
from handwriting.made_photos import KINDS, MadePhoto, make_photo
from handwriting.pages import fill_page
from handwriting.pages import table as to_table
from handwriting.pendigits import load_pendigits
from handwriting.photo import PhotoError, load_photo
from handwriting.samples import OWN, Samples, load_samples
from handwriting.tracing import TracedDigit, overlay, pen_down, trace

POINTS = 32  # of a pen path that is photographed
MOST = 5  # digits in a photograph
HEAD = (
    *("kind", "photos", "digits", "found", "read, own", "read, others"),
    *("off, drawn", "off, refined", "f1, drawn", "f1, refined", "failed, drawn", "failed, refined"),
    *("direction", "start"),
)


def photos_of(
    kind: str, count: int, own: bool, seed: int
) -> list[tuple[MadePhoto, list[int], bool]]:
    """Photographs with their labels, and whether the paths are the project's own drawings.

    Rows of up to MOST digits and single digits in turn; own drawings, and every second pair of
    photographs paths of pendigits' 14 test writers.
    """
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    made = []
    for number in range(count):
        is_own = own or number % 4 < 2
        source = _source(is_own)
        size = 1 if number % 2 else random.integers(2, MOST + 1)
        which = random.integers(len(source.labels), size=size)
        drawings = source.strokes.numpy()[which]
        photo = make_photo(list(drawings), kind, random)
        made.append((photo, source.labels[which].tolist(), is_own))
    return made


@functools.cache
def _source(own: bool) -> Samples:
    return load_samples(OWN) if own else load_pendigits("test", points=POINTS)


def compare(strokes: Sequence[np.ndarray], true: np.ndarray) -> dict[str, float]:
    """Compare strokes in px of a photograph with the path that was photographed.

    Both are brought to a frame in which the true path's longer side is 20 of 28 px. "off" is the
    mean distance between places on one and the nearest of the other, both ways, px; f1 and failed
    are those of `metrics.ink` against the true path, drawn one pixel wide; direction and start
    those of `people.recovery`.
    """
    low, high = true[:, :2].min(axis=0), true[:, :2].max(axis=0)
    scale = 28 / 20 * max(high - low)

    def framed(points: np.ndarray) -> np.ndarray:
        return (points - (low + high) / 2) / scale + 0.5

    chains = [
        np.column_stack((framed(stroke), np.arange(len(stroke)) == len(stroke) - 1))
        for stroke in strokes
    ]
    drawing = np.concatenate(chains)[None]
    truth = np.column_stack((framed(true[:, :2]), true[:, 2]))[None]
    ink = metrics.ink(drawing, metrics.render(truth))
    near = people.recovery(drawing, truth)
    places, others = (28 * metrics.sample(path)[0][0] for path in (drawing, truth))
    apart = np.linalg.norm(places[:, None] - others, axis=2)
    return {
        "off": float(apart.min(axis=0).mean() + apart.min(axis=1).mean()) / 2,
        "f1": float(ink["f1"][0]),
        "failed": float(ink["failed"][0]),
        "direction": float(near["recovery_direction"][0]),
        "start": float(near["recovery_start"][0]),
    }


def measure(kind: str, count: int, own: bool, seed: int) -> dict[str, float]:
    """Trace photographs of a kind; means of what `compare` gives, before refinement as "raw_"."""
    found, read, values, seconds = 0, {True: [], False: []}, [], 0.0
    made = photos_of(kind, count, own, seed)
    for photo, labels, is_own in made:
        try:
            began = time.perf_counter()
            digits = trace(photo.pixels)
            seconds += time.perf_counter() - began
        except PhotoError:
            continue
        if len(digits) != len(labels):
            continue
        found += 1
        read[is_own] += [digit.label == label for digit, label in zip(digits, labels, strict=True)]
        # How well it draws is measured on the right labels, whatever was read.
        if [digit.label for digit in digits] != labels:
            digits = trace(photo.pixels, labels)
        raw = trace(photo.pixels, labels, steps=0)
        for one, before, true in zip(digits, raw, photo.drawings, strict=True):
            row = compare(one.strokes, true)
            values.append(row | {f"raw_{k}": v for k, v in compare(before.strokes, true).items()})
    figures = {name: float(np.mean([row[name] for row in values])) for name in values[0]}
    return figures | {
        "photos": len(made),
        "digits": sum(len(labels) for _, labels, _ in made),
        "found": found / len(made),
        "read_own": float(np.mean(read[True])),
        "read_others": float(np.mean(read[False])) if read[False] else float("nan"),
        "seconds": seconds / found,
        "measured": len(values),
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """The figures as Markdown, a line for each kind and one for all."""
    total = sum(row["photos"] for row in rows.values())
    everything = {
        name: float(np.mean([row[name] for row in rows.values()])) for name in rows["scan"]
    }
    everything |= {"photos": total, "digits": sum(row["digits"] for row in rows.values())}
    lines = []
    for kind, row in (*rows.items(), ("all", everything)):
        cells = [kind, f"{row['photos']:.0f}", f"{row['digits']:.0f}"]
        cells += [_share(row[name]) for name in ("found", "read_own", "read_others")]
        cells += [f"{row['raw_off']:.2f}", f"{row['off']:.2f}"]
        cells += [f"{row['raw_f1']:.3f}", f"{row['f1']:.3f}"]
        cells += [_share(row[name]) for name in ("raw_failed", "failed", "direction", "start")]
        lines.append(cells)
    return to_table(list(HEAD), lines)


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f} %"


def draw_kinds(path: Path, own: bool, seed: int) -> None:
    """A photograph of each kind with its strokes over it."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, kind in zip(figure.subplots(4, 2).flat, KINDS, strict=True):
        photo = photos_of(kind, 1, own, seed)[0][0]
        axes.imshow(overlay(load_photo(photo.pixels), trace(photo.pixels)))
        axes.set_title(kind, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def draw_steps(path: Path, own: bool, seed: int) -> None:
    """One digit's way: photograph, MNIST's frame, thinned, the model's drawing, refined."""
    photo, labels, _ = photos_of("phone", 6, own, seed)[5]
    pixels = load_photo(photo.pixels)
    frame = to_frame(find_digits(pixels)[0])
    raw, refined = (trace(photo.pixels, labels, steps=steps)[0] for steps in (0, 100))
    panels = {
        "photograph": pixels,
        "ink in MNIST's frame": frame.image,
        "thinned": raw.image,
        f"drawn: loss {raw.loss_after:.3f}": raw,
        f"refined: loss {refined.loss_after:.4f}": refined,
    }
    figure = Figure(figsize=(10, 2.3), layout="constrained")
    for axes, (name, shown) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        if isinstance(shown, TracedDigit):
            axes.imshow(255 - frame.fine * 90, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            for chain in pen_down(shown.drawing):
                axes.plot(*chain.T, ".-", color="tab:blue", linewidth=1.5, markersize=4)
        else:
            axes.imshow(shown, cmap="gray")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
    """Run with these arguments, or the command line's; return the figures of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=25, help="of each kind (default %(default)s)")
    parser.add_argument("--own", action="store_true", help="the project's own drawings alone")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "images", help="folder of the pictures")
    parser.add_argument("--page", type=Path, default=here / "tracing.md", help="to put figures in")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    draw_kinds(options.out / "tracing-kinds.png", options.own, options.seed)
    draw_steps(options.out / "tracing-steps.png", options.own, options.seed)
    rows = {}
    for kind in KINDS:
        rows[kind] = measure(kind, options.photos, options.own, options.seed)
        print(kind, {name: round(value, 4) for name, value in rows[kind].items()}, flush=True)
    if options.page.exists():
        fill_page(options.page, {"figures": table(rows)})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)  # more are slower on canvases this small
    main()
