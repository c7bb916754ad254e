"""The card of the data set: its numbers are those of the file, and the page says the same."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from handwriting import card as card_module
from handwriting.card import CardConfig, blocks, draw_pictures, make_card
from handwriting.checkpoint import Checkpoint, save
from handwriting.cli import main
from handwriting.formats import load_strokes
from handwriting.models.writer import Writer, WriterConfig
from handwriting.pendigits import load_pendigits
from handwriting.show import SIDE
from handwriting.stroke_reader import (
    StrokeReaderConfig,
    common_form,
    read_strokes,
    set_of,
    train_stroke_reader,
)

pytest.importorskip("cv2")
pytest.importorskip("h5py")
image_module = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("thinned_cache")

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "dataset.md", ROOT / "results" / "dataset.json"


@pytest.fixture
def config(tmp_path, people_dir):
    torch.manual_seed(0)
    writer = Writer(WriterConfig(units=8))
    save(tmp_path / "writer.safetensors", Checkpoint(writer.config, writer.state_dict()))
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- begin {name} -->\n<!-- end {name} -->\n" for name in NAMES))
    return CardConfig(
        tmp_path / "writer.safetensors",
        tmp_path / "files",
        tmp_path / "new" / "dataset.json",
        page,
        tmp_path / "images",
        people_dir,
        epochs=1,
    )


NAMES = ["made", "counts", "files", "quality-train", "quality-test", "reading", "faults"]


def test_numbers_are_those_of_the_files(config):
    result = make_card(config)
    assert json.loads(config.out.read_text()) == result
    digits, tracer = (load_strokes(config.files / f"{name}.h5") for name in ("digits", "tracer"))
    assert digits.meta["drawn_by"] == "writer.safetensors" and result["set"] == digits.meta
    assert tracer.meta["drawn_by"] == "tracer"
    for number, split in enumerate(("train", "test")):
        here = digits.split == number
        assert result["counts"][split]["all"] == here.sum()
        assert result["counts"][split]["3"] == (here & (digits.label == 3)).sum()
        for name, values in digits.quality.items():
            wanted = np.nanmean(values[here & (digits.label == 3)])
            assert result["quality"][split]["3"][name] == pytest.approx(wanted), name
            assert result["quality"][split]["all"][name] == pytest.approx(
                np.nanmean(values[here])
            ), name

    bad = digits.select(digits.failed & (digits.split == 1))
    assert result["failed"] == {
        "lacking": pytest.approx((bad.quality["recall"] < 0.9).mean()),
        "stray": pytest.approx((bad.quality["precision"] < 0.9).mean()),
        "cnn": pytest.approx(bad.quality["cnn"].mean()),
    }

    people = {half: load_pendigits(half, config.data_dir, 20) for half in ("train", "test")}
    reader = train_stroke_reader(common_form(tracer), StrokeReaderConfig(1, 0))
    theirs = common_form(set_of(people["test"], "test"))
    right = read_strokes(reader, theirs.strokes) == theirs.label
    read = result["reading"]["tracer"]["people"]
    assert read["all"] == pytest.approx(right.mean())
    assert read["4"] == pytest.approx(right[theirs.label == 4].mean())
    lessons = common_form(set_of(people["train"], "train"))
    reader = train_stroke_reader(lessons, StrokeReaderConfig(1, 0))
    test = common_form(digits.select(digits.split == 1))
    right = read_strokes(reader, test.strokes) == test.label
    assert result["reading"]["people"]["digits"]["all"] == pytest.approx(right.mean())


def test_page_and_pictures_come_with_them(config):
    result = make_card(config)
    text = config.page.read_text()
    for name, block in blocks(result).items():
        assert f"<!-- begin {name} -->\n\n{block}\n\n<!-- end {name} -->" in text
    assert "| train | 4 | 4 |" in text and "writer.safetensors" in text
    for name in ("dataset-digits.png", "dataset-failed.png"):
        with image_module.open(config.images / name) as picture:
            assert picture.size == (10 * SIDE, 2 * SIDE)
    with image_module.open(config.images / "dataset-writing.gif") as animation:
        assert animation.n_frames > 30


def test_files_that_fit_are_not_made_again_and_others_are(config, monkeypatch):
    first = make_card(config)
    exports = []
    export = card_module.export

    def counted(options):
        exports.append(options.out.name)
        return export(options)

    monkeypatch.setattr(card_module, "export", counted)
    assert make_card(config) == first and not exports
    writer = Writer(WriterConfig(units=8))
    save(config.checkpoint, Checkpoint(writer.config, writer.state_dict()))
    make_card(config)
    assert exports == ["digits.h5"]
    exports.clear()
    assert make_card(dataclasses.replace(config, limit=15))["counts"]["test"]["all"] == 15
    assert exports == ["digits.h5", "tracer.h5"]


def test_classes_that_people_write_otherwise_are_named_among_the_faults(config):
    result = make_card(config)
    for label, means in result["quality"]["test"].items():
        means["forward"] = 0.25 if label == "8" else 1.0
        means["failed"] = 0.5 if label == "3" else 0.1
    text = blocks(result)["faults"]
    assert "10.0 % of the test digits are badly drawn, most often 3s: 50.0 %" in text
    assert re.findall(r"People do not write (\d)s .* only 25\.0 %", text) == ["8"]


def test_the_command_makes_it(config, tmp_path, people_dir, capsys):
    options = ["--checkpoint", str(config.checkpoint), "--files", str(config.files)]
    out = tmp_path / "c.json"
    options += ["--out", str(out), "--data", str(people_dir), "--epochs", "1", "--limit", "10"]
    assert main(["card", *options]) == 0
    assert json.loads(out.read_text())["counts"]["train"]["all"] == 10
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["card", *options, "--epochs", "0"])
    assert "epochs must be at least 1, got 0" in capsys.readouterr().err


def test_the_page_says_what_the_results_say():
    if not PAGE.exists():
        pytest.skip("not in the repository")
    text = PAGE.read_text()
    for name, block in blocks(json.loads(RESULTS.read_text())).items():
        begin, end = f"<!-- begin {name} -->\n\n", f"\n\n<!-- end {name} -->"
        assert text.partition(begin)[2].partition(end)[0] == block, "run card --page"
    for picture in re.findall(r"\]\((images/dataset-[^)]*)\)", text):
        assert (PAGE.parent / picture).exists(), picture


def test_the_pages_pictures_are_as_large_as_those_that_are_drawn_now(tmp_path):
    if not PAGE.exists():
        pytest.skip("not in the repository")
    from strokesets import make_set

    drawn = make_set(0, 800, points=20)
    draw_pictures(drawn, tmp_path)
    for picture in tmp_path.iterdir():
        with (
            image_module.open(picture) as now,
            image_module.open(PAGE.parent / "images" / picture.name) as kept,
        ):
            assert now.size == kept.size, picture.name
            assert getattr(now, "n_frames", 1) == getattr(kept, "n_frames", 1)
