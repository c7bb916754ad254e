"""What the experiments find out about a trained model: its figures, its pictures, its drawings.

Adds to evaluate.py the figures that only comparisons of models need, described in METRICS. When
this is done, and where results go, is left to experiments.py.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handwriting.animation import animate
from handwriting.checkpoint import load_line_model, load_writer
from handwriting.data import load_thinned
from handwriting.drawing import write_digits
from handwriting.dtw import dtw, path_points
from handwriting.evaluate import EvaluateConfig, evaluate
from handwriting.figures import FigureConfig, draw_figure, plot
from handwriting.files import write_atomically
from handwriting.ladder import CONSTANTS
from handwriting.lines import draw_lines
from handwriting.metrics import check_drawings
from handwriting.models.line_model import LineModel
from handwriting.models.writer import CLASSES, IMAGE_SIZE
from handwriting.renderers import soft_renderer
from handwriting.samples import save_samples
from handwriting.tracer import trace

METRICS = {
    "crossings": "pairs of pen-down segments that cross, joined ones aside",
    "height": "height of the box around the pen-down segments, px",
    "variation": "mean-step DTW between what two seeds draw for the same digit, px",
    "unlike_ones": "mean distance of points from those drawn for an image of ones, px",
}

# Of what `evaluate` returns; the rest names files of one machine.
KEPT = ("count", "figures", "by_class", "versions")

STROKES_NAME = "strokes.npz"

# Beyond the seeds that a line model may have: lines that none trains on.
_LINES_SEED, _LINES = 2**32, 1000
_TRACED = 500  # test digits


def measure_run(checkpoint: Path, data_dir: Path | None, limit: int | None) -> dict[str, Any]:
    """Measure a trained model; leave evaluation.json and its drawings, strokes.npz, beside it.

    Args:
        checkpoint: file of the model.
        data_dir: folder of the data, as for `evaluate`.
        limit: measure the first so many test digits; None: all.

    Returns:
        Of what `evaluate` returns the KEPT, crossings and height among the figures.
    """
    out = checkpoint.with_name("evaluation.json")
    result = evaluate(
        EvaluateConfig(checkpoint=checkpoint, out=out, data_dir=data_dir, limit=limit)
    )
    test = load_thinned("test", data_dir)
    images, labels = test.images[:limit], test.labels[:limit]
    drawings = write_digits(load_writer(checkpoint), images, labels)
    save_samples(checkpoint.with_name(STROKES_NAME), list(drawings), labels.tolist())
    own = _means({"crossings": crossings(drawings), "height": height(drawings)}, labels.numpy())
    by_class = {label: more | own["by_class"][label] for label, more in result["by_class"].items()}
    figures = result["figures"] | own["figures"]
    return {**{key: result[key] for key in KEPT}, "figures": figures, "by_class": by_class}


def compare_runs(files: list[Path]) -> dict[str, Any]:
    """Measure how drawings of the same digits vary between runs.

    Args:
        files: strokes.npz of at least two runs.

    Returns:
        "runs": how many; "figures" and "by_class": variation.
    """
    runs = [np.load(file) for file in files]
    apart = variation([run["strokes"] for run in runs])
    return {"runs": len(runs), **_means({"variation": apart}, runs[0]["label"])}


def draw_run(checkpoint: Path, out: Path, data_dir: Path | None, line_model: Path | None) -> None:
    """Draw the three rows of `draw_figure` as `out`, and how they are written as a GIF beside it.

    Args:
        checkpoint: file of the model.
        out: the PNG; an .npz and a .gif with the same name go beside it.
        data_dir: folder of the data.
        line_model: file of the neural renderer, if that trained the model.
    """
    draw_figure(FigureConfig(checkpoint, out, data_dir, line_model=line_model))
    index = np.load(out.with_suffix(".npz"))["index"]
    test = load_thinned("test", data_dir)
    drawings = write_digits(load_writer(checkpoint), test.images[index], test.labels[index])
    write_atomically(out.with_suffix(".gif"), animate(drawings))


def measure_constants(checkpoint: Path, out: Path) -> dict[str, Any]:
    """See what a model draws, for each digit, when all of its image has one value.

    Args:
        checkpoint: file of the model.
        out: the PNG, of zeros and of ones; a .gif with the same name goes beside it.

    Returns:
        For each of CONSTANTS, as text, "figures" and "by_class": height and unlike_ones.
    """
    writer, count = load_writer(checkpoint), len(CONSTANTS)
    labels = torch.arange(CLASSES).repeat(count)
    images = torch.tensor(CONSTANTS).repeat_interleave(CLASSES)[:, None, None]
    images = images.expand(-1, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        strokes = writer(images, labels)
        canvas = soft_renderer(writer.config.composite)(strokes)
    drawings = write_digits(writer, images, labels)
    by_value = drawings.reshape(count, CLASSES, -1, 3)
    ones = by_value[CONSTANTS.index(1.0)]
    found = {}
    for value, some in zip(CONSTANTS, by_value, strict=True):
        apart = np.linalg.norm((some - ones)[..., :2], axis=2).mean(axis=1) * IMAGE_SIZE
        figures = {"height": height(some), "unlike_ones": apart}
        found[str(value)] = _means(figures, np.arange(CLASSES))
    shown = (images[:, 0, 0] == 0) | (images[:, 0, 0] == 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, plot(images[shown], strokes[shown], canvas[shown]))
    write_atomically(out.with_suffix(".gif"), animate(drawings[shown.numpy()]))
    return found


def measure_line_model(checkpoint: Path, out: Path, data_dir: Path | None) -> dict[str, float]:
    """Compare a line model's lines with OpenCV's, and see what digits drawn with it cost.

    The lines are such as no line model trains on. The digits are the first 500 of the test set, as
    the skeleton tracer draws them, hardly a pixel off: what a writer can hope for.

    Args:
        checkpoint: file of the line model.
        out: a PNG of ten lines: OpenCV's, their ends joined, and the line model's.
        data_dir: folder of the data.

    Returns:
        Squared errors per pixel: of lines "mse" and, for drawing nothing, "empty_mse"; of digits
        "traced_mse" and "traced_max_mse", where segments merge by sum and by max, and
        "blank_mse" for drawing nothing. Also "on_line", the mean value where a line is.
    """
    model = load_line_model(checkpoint)
    segments, truth = draw_lines(_LINES_SEED, 1, _LINES)
    with torch.no_grad():
        drawn = model(segments)
    ends = segments[:10].reshape(-1, 2, 3)
    # Only a lifted first end makes a line that is not drawn: a softness of no ink.
    strokes = torch.cat((ends[..., :2], 1e3 * (1 - ends[..., 2:])), dim=2)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, plot(truth[:10], strokes, drawn[:10]))
    return {
        "mse": (drawn - truth).square().mean().item(),
        "empty_mse": truth.to(torch.float32).mean().item(),
        "on_line": drawn[truth == 1].mean().item(),
        **_traced_errors(model, load_thinned("test", data_dir).images[:_TRACED]),
    }


@torch.no_grad()
def _traced_errors(model: LineModel, images: torch.Tensor) -> dict[str, float]:
    drawings = torch.from_numpy(trace(images.numpy())).split(50)
    targets = images.to(torch.float32)
    canvases = {
        "blank_mse": torch.zeros_like(targets),
        "traced_mse": torch.cat([model.draw(some, "sum") for some in drawings]),
        "traced_max_mse": torch.cat([model.draw(some, "max") for some in drawings]),
    }
    return {name: (canvas - targets).square().mean().item() for name, canvas in canvases.items()}


def crossings(drawings: np.ndarray) -> np.ndarray:
    """Count crossings: see METRICS. Touching ends and overlaps in line are none.

    Args:
        drawings: (n, P, 3): x, y, and 1 where the pen is lifted after this point.

    Returns:
        (n,) float64.
    """
    check_drawings(drawings)
    points = drawings[..., :2].astype(np.float64)
    starts, ends = points[:, :-1], points[:, 1:]
    count = starts.shape[1]
    first, second = np.triu_indices(count, 2)
    down = drawings[:, :-1, 2] < 0.5
    a, b, c, d = starts[:, first], ends[:, first], starts[:, second], ends[:, second]
    cross = _side(a, b, c) * _side(a, b, d) < 0
    cross &= _side(c, d, a) * _side(c, d, b) < 0
    return (cross & down[:, first] & down[:, second]).sum(axis=1).astype(np.float64)


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Sign of the side of a line that a point lies on, (..., 2) each."""
    along, away = end - start, point - start
    return np.sign(along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0])


def height(drawings: np.ndarray) -> np.ndarray:
    """Measure the height of what is drawn: see METRICS. 0 where nothing is.

    Args:
        drawings: (n, P, 3), as in `crossings`.

    Returns:
        (n,) float64, px.
    """
    check_drawings(drawings)
    down = drawings[:, :-1, 2] < 0.5
    inked = np.zeros(drawings.shape[:2], bool)
    inked[:, :-1] |= down
    inked[:, 1:] |= down
    y = drawings[..., 1].astype(np.float64)
    tall = np.where(inked, y, -np.inf).max(axis=1) - np.where(inked, y, np.inf).min(axis=1)
    return np.maximum(tall, 0) * IMAGE_SIZE


def variation(by_seed: list[np.ndarray]) -> np.ndarray:
    """Compare what several seeds draw for the same digits: see METRICS.

    Args:
        by_seed: (n, P, 3) each, as in `crossings`, at least two.

    Returns:
        (n,) float64, px: the mean over pairs of seeds; NaN where one draws nothing.
    """
    paths = [path_points(drawings) for drawings in by_seed]
    apart = [dtw(one, other) for one, other in combinations(paths, 2)]
    return np.mean(apart, axis=0) * IMAGE_SIZE


def _means(values: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """Means of values (n,), of all and of each label; NaN does not count, None of nothing."""

    def means(which: np.ndarray) -> dict[str, float | None]:
        found = {name: value[which & np.isfinite(value)] for name, value in values.items()}
        return {name: float(some.mean()) if len(some) else None for name, some in found.items()}

    by_class = {str(label): means(labels == label) for label in np.unique(labels)}
    return {"figures": means(np.ones(len(labels), bool)), "by_class": by_class}
