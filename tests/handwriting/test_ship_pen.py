"""The shipped pen is what its file says, and a file is made from a run with its figures."""

import json
import re
from pathlib import Path

import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting.legibility import METRICS, LegibilityConfig, measure_legibility
from handwriting.ship_pen import MAX_BYTES, ShipPenConfig, ship_pen
from handwriting.synthesis import METHODS, NEATNESS, WEIGHTS

for module in ("cv2", "safetensors", "tqdm"):
    pytest.importorskip(module)

pytestmark = pytest.mark.usefixtures("thinned_cache")

DOCS = Path(__file__).parents[2] / "docs" / "pen.md"


@pytest.fixture
def run_dir(tmp_path):
    """A run whose weights are the shipped ones in float32."""
    shipped = checkpoints.load(WEIGHTS)
    weights = {name: tensor.float() for name, tensor in shipped.weights.items()}
    run = checkpoints.Checkpoint(shipped.config, weights, {}, {"step": 3})
    (tmp_path / "run").mkdir()
    checkpoints.save(tmp_path / "run" / checkpoints.CHECKPOINT_NAME, run)
    return tmp_path / "run"


def test_a_file_has_the_runs_weights_in_float16_and_its_figures(run_dir, people_dir, tmp_path):
    out = tmp_path / "new" / "pen.safetensors"
    config = ShipPenConfig(run_dir, "the command", out=out, count=3, data_dir=people_dir)
    assert ship_pen(config) == out and list(out.parent.iterdir()) == [out]
    made, shipped = checkpoints.load(out), checkpoints.load(WEIGHTS)
    assert made.config == shipped.config and not made.optimizer
    for name, tensor in shipped.weights.items():
        assert made.weights[name].dtype == torch.float16
        assert torch.equal(made.weights[name], tensor), name
    assert made.training["made_by"] == "the command" and made.training["step"] == 3
    measured = made.training["measured"]
    assert measured["neatness"] == NEATNESS and "torch" in measured["versions"]
    for method in METHODS:
        assert measured[method].keys() == METRICS.keys()


def test_figures_can_be_measured_anew(people_dir, tmp_path, capsys):
    out = tmp_path / "figures.json"
    config = LegibilityConfig("collage", count=4, neatness=0.3, out=out, data_dir=people_dir)
    figures = measure_legibility(config)
    printed = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["figures"] == figures and written["options"]["neatness"] == "0.3"
    assert all(name in printed for name in METRICS)


def test_weights_beyond_float16_are_refused(run_dir, tmp_path):
    path = run_dir / checkpoints.CHECKPOINT_NAME
    run = checkpoints.load(path)
    run.weights["attend.bias"][0] = 1e6
    checkpoints.save(path, run)
    with pytest.raises(ValueError, match=r"attend\.bias has weights beyond float16"):
        ship_pen(ShipPenConfig(run_dir, "it", out=tmp_path / "pen.safetensors"))
    assert not (tmp_path / "pen.safetensors").exists()


def test_the_shipped_file_is_small_and_says_what_made_it():
    assert WEIGHTS.stat().st_size < MAX_BYTES
    training = checkpoints.load(WEIGHTS).training
    assert "train-pen" in training["made_by"]
    measured = training["measured"]
    assert measured["network"]["digits"] == measured["collage"]["digits"] > 6000
    assert measured["network"]["read"] >= 0.97 and measured["collage"]["read"] >= 0.98


def test_the_page_has_the_figures_of_the_shipped_file():
    measured = checkpoints.load(WEIGHTS).training["measured"]
    names = {"network": "network", "collage": "collage", "learned": "what it learned from"}
    for method, name in names.items():
        (row,) = re.findall(rf"^\| {name} \|(.*)\|$", DOCS.read_text(), re.MULTILINE)
        figures = measured[method]
        shares = [f"{100 * figures[key]:.1f} %" for key in ("read", "strings")]
        likeness = [f"{figures['dtw']:.3f}", f"{100 * figures['forward']:.1f} %"]
        variety = [f"{figures['variety']:.3f}", f"{figures['repeat']:.3f}"]
        copies = f"{100 * figures['copies']:.1f} %"
        wanted = [*shares, str(figures["lost"]), *likeness, *variety, copies]
        assert [cell.strip() for cell in row.split("|")] == wanted


def test_the_pages_pictures_are_there():
    for name in re.findall(r"\]\((images/[^)]+)\)", DOCS.read_text()):
        assert (DOCS.parent / name).stat().st_size > 1000, name


@pytest.mark.parametrize(("name", "value"), [("made_by", " "), ("count", 0)])
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        ShipPenConfig(**{"run": Path("run"), "made_by": "it", name: value})
