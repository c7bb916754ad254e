"""The figure's pixels and numbers against what the writer and the rasterizer give."""

import dataclasses

import numpy as np
import pytest
import torch

import softraster
from handwriting import figures
from handwriting.checkpoint import Checkpoint, save
from handwriting.data import load_thinned
from handwriting.figures import CELL, MARGIN, SCALE, FigureConfig, draw_figure
from handwriting.models.writer import Writer, WriterConfig

matplotlib_image = pytest.importorskip("matplotlib.image")
pytestmark = pytest.mark.usefixtures("thinned_cache")


@pytest.fixture
def writer():
    """Untrained, but drawing long and hard lines."""
    torch.manual_seed(0)
    writer = Writer(WriterConfig(units=8, points=6))
    with torch.no_grad():
        writer.projection.mul_(20)
        writer.output_bias[2] = 6
    return writer


@pytest.fixture
def config(tmp_path, data_dir, writer):
    save(tmp_path / "writer.safetensors", Checkpoint(writer.config, writer.state_dict()))
    return FigureConfig(
        checkpoint=tmp_path / "writer.safetensors",
        out=tmp_path / "new" / "a.png",
        data_dir=data_dir,
    )


def cell_pixels(path, row, column):
    """The digit in a cell, (28, 28) of 0..1, taken at the middle of each of its pixels."""
    picture = matplotlib_image.imread(path)[..., 0]
    top, left = (place * CELL + MARGIN for place in (row, column))
    side = 28 * SCALE
    return picture[top : top + side, left : left + side][SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def test_rows_show_the_digit_the_segments_and_the_canvas(config, writer, data_dir):
    png, npz = draw_figure(config)
    assert matplotlib_image.imread(png).shape[:2] == (3 * CELL, 10 * CELL)
    index = np.load(npz)["index"]
    images = load_thinned("test", data_dir).images[index].float()
    canvas = softraster.draw_strokes(writer(images, torch.arange(10)), 28).detach().clamp(0, 1)
    for column in range(10):
        np.testing.assert_array_equal(cell_pixels(png, 0, column), images[column])
        np.testing.assert_allclose(cell_pixels(png, 2, column), canvas[column], atol=2 / 255)
        assert cell_pixels(png, 1, column).max() > 0.3


def test_the_canvas_merges_segments_as_the_writer_means_it(config, writer):
    writer.config = dataclasses.replace(writer.config, composite="max")
    save(config.checkpoint, Checkpoint(writer.config, writer.state_dict()))
    png, npz = draw_figure(config)
    strokes = torch.from_numpy(np.load(npz)["strokes"])
    canvas = softraster.draw_strokes(strokes, 28, composite="max").clamp(0, 1)
    assert (canvas - softraster.draw_strokes(strokes, 28).clamp(0, 1)).abs().max() > 0.1
    for column in range(10):
        np.testing.assert_allclose(cell_pixels(png, 2, column), canvas[column], atol=2 / 255)


def test_the_numbers_are_the_writers_strokes(config, writer, data_dir):
    _, npz = draw_figure(config)
    numbers = np.load(npz)
    digits = load_thinned("test", data_dir)
    assert numbers["label"].tolist() == list(range(10))
    assert digits.labels[numbers["index"]].tolist() == list(range(10))
    strokes = writer(digits.images[numbers["index"]].float(), digits.labels[numbers["index"]])
    assert numbers["strokes"].dtype == np.float32 and numbers["strokes"].shape == (10, 6, 3)
    np.testing.assert_array_equal(numbers["strokes"], strokes.detach())


def test_more_than_ten_digits_go_on_below_and_none_twice(config):
    png, npz = draw_figure(dataclasses.replace(config, count=13))
    assert matplotlib_image.imread(png).shape[:2] == (6 * CELL, 10 * CELL)
    numbers = np.load(npz)
    assert numbers["label"].tolist() == [*range(10), 0, 1, 2]
    assert len(set(numbers["index"].tolist())) == 13


def test_few_digits_make_a_narrow_figure(config):
    png, _ = draw_figure(dataclasses.replace(config, count=2))
    assert matplotlib_image.imread(png).shape[:2] == (3 * CELL, 2 * CELL)


def test_the_seed_alone_chooses_the_digits(config):
    chosen = [np.load(draw_figure(dataclasses.replace(config, seed=seed))[1])["index"].tolist()
              for seed in (0, 0, 1, 2, 3)]  # fmt: skip
    assert chosen[0] == chosen[1]
    assert len({tuple(index) for index in chosen}) > 1


def test_lifted_segments_are_grey_and_the_others_coloured(config, monkeypatch):
    monkeypatch.setattr(figures, "pen_lifted", lambda stroke: torch.ones(5, dtype=torch.bool))
    grey = matplotlib_image.imread(draw_figure(config)[0])[CELL : 2 * CELL, :, :3]
    monkeypatch.setattr(figures, "pen_lifted", lambda stroke: torch.zeros(5, dtype=torch.bool))
    coloured = matplotlib_image.imread(draw_figure(config)[0])[CELL : 2 * CELL, :, :3]
    assert np.ptp(grey, axis=2).max() == 0 and 0.1 < grey.max() < 0.5
    assert np.ptp(coloured, axis=2).max() > 0.5


def test_too_many_digits_are_refused(config):
    with pytest.raises(ValueError, match="count is 21, but there are 20 test digits"):
        draw_figure(dataclasses.replace(config, count=21))


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("seed", -1), ("out", "a.jpg")])
def test_bad_options_are_refused_by_name(config, name, value):
    value = config.out.with_name(value) if name == "out" else value
    with pytest.raises(ValueError, match=f"{name} must be"):
        dataclasses.replace(config, **{name: value})
