"""The evaluation, its files, and what the command line says of mistakes."""

import json
import re

import numpy as np
import pytest
import torch

from handwriting import metrics, people
from handwriting.checkpoint import Checkpoint, save
from handwriting.cli import main
from handwriting.data import load_thinned
from handwriting.evaluate import METRICS, EvaluateConfig, evaluate, measure
from handwriting.export import ExportConfig, export
from handwriting.models.writer import Writer, WriterConfig
from handwriting.pendigits import load_pendigits, thinned_pen_images
from handwriting.reader import Reader, load_reader, read
from handwriting.samples import save_samples
from handwriting.tracer import trace

pytest.importorskip("cv2")
pytestmark = pytest.mark.usefixtures("thinned_cache")


@pytest.fixture
def checkpoint(tmp_path):
    """Of an untrained writer that draws long lines and lifts the pen now and then."""
    torch.manual_seed(0)
    writer = Writer(WriterConfig(units=8, points=7))
    with torch.no_grad():
        writer.projection.mul_(20)
        writer.output_bias[2] = 3
    save(tmp_path / "writer.safetensors", Checkpoint(writer.config, writer.state_dict()))
    return tmp_path / "writer.safetensors", writer


def test_figures_are_the_means_of_what_the_parts_measure(people_dir, tmp_path, capsys):
    out = tmp_path / "new" / "tracer.json"
    result = evaluate(EvaluateConfig(tracer=True, out=out, data_dir=people_dir))
    assert json.loads(out.read_text()) == result
    assert result["count"] == 20 and list(result["figures"]) == list(METRICS)

    digits, known = load_thinned("test", people_dir), load_pendigits("test", people_dir)
    images, labels = digits.images.numpy(), digits.labels.numpy()
    drawings = trace(images)
    humans = load_pendigits("train", people_dir)
    reader = load_reader(load_thinned("train", people_dir))
    strokes = known.strokes.numpy()
    expected = {
        **metrics.ink(drawings, images),
        **metrics.manner(drawings),
        "cnn": read(reader, metrics.render(drawings)) == labels,
        "cnn_images": read(reader, images) == labels,
        **people.likeness(drawings, labels, humans.strokes.numpy(), humans.labels.numpy()),
        **people.recovery(trace(thinned_pen_images(strokes)), strokes),
    }
    for name, values in expected.items():
        assert result["figures"][name] == pytest.approx(np.nanmean(values)), name
        threes = np.nanmean(values[(known if "recovery" in name else digits).labels == 3])
        assert result["by_class"]["3"][name] == pytest.approx(threes), name

    table = capsys.readouterr().out
    for name, value in result["figures"].items():
        assert re.search(rf"^{name} +{value:.4f}  \w", table, re.MULTILINE), name


def test_a_model_is_measured_as_its_export_is(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    file = export(ExportConfig(path, tmp_path / "drawn.npz", people_dir, "test", bits=32))
    model = evaluate(EvaluateConfig(checkpoint=path, data_dir=people_dir))
    strokes = evaluate(EvaluateConfig(strokes=file, data_dir=people_dir))
    recovered = {name for name in METRICS if name.startswith("recovery")}
    assert model["figures"].keys() - strokes["figures"].keys() == recovered
    for name, value in strokes["figures"].items():
        assert value == pytest.approx(model["figures"][name]), name
    few = evaluate(EvaluateConfig(strokes=file, data_dir=people_dir, limit=7))
    assert few["count"] == 7 and list(few["by_class"]) == list("0123456")


def test_people_are_measured_on_their_own_images_against_other_people(people_dir):
    got = evaluate(EvaluateConfig(people=True, data_dir=people_dir))
    assert got["drawings"] == "people" and got["count"] == 20
    # Both halves of this set wobble around one path a class.
    assert got["figures"]["forward"] == 1 and got["figures"]["dtw"] < 0.1
    assert got["figures"]["recall"] > 0.95 and got["figures"]["lifts"] == 0


def test_templates_change_order_and_direction_but_not_what_is_inked(people_dir, tmp_path):
    turned = load_pendigits("train", people_dir)
    strokes = turned.strokes.numpy()[:, ::-1].copy()
    strokes[..., 2] = [0] * 7 + [1]
    save_samples(tmp_path / "turned.npz", list(strokes), turned.labels.tolist())
    forward = []
    for templates in ("pendigits", str(tmp_path / "turned.npz")):
        config = EvaluateConfig(tracer=True, templates=templates, data_dir=people_dir)
        figures = evaluate(config)["figures"]
        assert figures["recall"] > 0.98
        forward.append(figures["recovery_direction"])
    assert forward[0] > 0.8 and forward[1] < 0.2


def test_without_pendigits_their_figures_are_left_out_with_a_warning(data_dir):
    with pytest.warns(UserWarning, match=r"dtw, forward and recovery are left out: .*pendigits"):
        result = evaluate(EvaluateConfig(tracer=True, data_dir=data_dir))
    assert result["figures"].keys() == METRICS.keys() - people.METRICS.keys()
    for needed in ({"people": True}, {"tracer": True, "templates": "pendigits"}):
        with pytest.raises(FileNotFoundError, match="pendigits"):
            evaluate(EvaluateConfig(data_dir=data_dir, **needed))


def test_a_figure_that_no_drawing_has_is_null(tmp_path, data_dir):
    straight = np.zeros((20, 2, 3))
    straight[:, 1] = 0.5, 0.5, 1
    file = tmp_path / "straight.npz"
    save_samples(file, list(straight), load_thinned("test", data_dir).labels.tolist())
    with pytest.warns(UserWarning, match="left out"):
        result = evaluate(EvaluateConfig(strokes=file, out=tmp_path / "a.json", data_dir=data_dir))
    assert result["figures"]["turn_cos"] is None
    assert json.loads((tmp_path / "a.json").read_text())["figures"]["turn_cos"] is None


def test_drawings_of_other_digits_are_refused(tmp_path, data_dir):
    drawings, labels = list(np.zeros((20, 2, 3))), load_thinned("test", data_dir).labels.tolist()
    save_samples(tmp_path / "few.npz", drawings[:5], labels[:5])
    save_samples(tmp_path / "other.npz", drawings, labels[1:] + labels[:1])
    for name in ("few", "other"):
        with (
            pytest.raises(ValueError, match=f"{name}.npz: its labels are not those"),
            pytest.warns(UserWarning, match="left out"),
        ):
            evaluate(EvaluateConfig(strokes=tmp_path / f"{name}.npz", data_dir=data_dir))


def test_unequal_numbers_are_refused():
    images, labels = np.ones((2, 28, 28), np.uint8), np.zeros(3, int)
    with pytest.raises(ValueError, match="got 2 drawings, 2 images and 3 labels"):
        measure(np.zeros((2, 2, 3)), images, labels, Reader(), None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "exactly one of checkpoint, strokes, tracer, people must be given, got None"),
        ({"tracer": True, "people": True}, "got tracer and people"),
        ({"people": True, "templates": "author"}, "templates must go with tracer"),
        ({"tracer": True, "limit": 0}, "limit must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused_by_name(options, says):
    with pytest.raises(ValueError, match=says):
        EvaluateConfig(**options)


def test_the_command_line_reaches_both(checkpoint, people_dir, tmp_path, capsys):
    path, _ = checkpoint
    data = ["--data", str(people_dir)]
    out = tmp_path / "drawn.npz"
    assert (
        main(["export", "--checkpoint", str(path), "--out", str(out), "--split", "test", *data])
        == 0
    )
    assert main(["evaluate", "--strokes", str(out), *data, "--limit", "10"]) == 0
    assert main(["evaluate", "--checkpoint", str(path), *data]) == 0
    assert json.loads(path.with_name("evaluation.json").read_text())["count"] == 20
    assert main(["evaluate", "--tracer", *data, "--out", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["drawings"] == "tracer"
    capsys.readouterr()
    for arguments, status, says in (
        (["evaluate", "--run", str(tmp_path / "absent"), *data], 1, "absent"),
        (["evaluate", "--strokes", str(path), *data], 1, ".npz"),
        (["evaluate", "--people", "--tracer"], 2, "not allowed with"),
        (["evaluate", "--people", "--templates", "author"], 2, "templates must go with tracer"),
        (["export", "--out", "a.json"], 2, ".npz"),
        (["export"], 2, "--out"),
    ):
        try:
            got = main(arguments)
        except SystemExit as stop:
            got = stop.code
        lines = capsys.readouterr().err.splitlines()
        assert got == status and len(lines) == 1 and says in lines[0], (arguments, got, lines)
