"""Figures that compare models, on drawings whose answer is plain or worked out another way."""

import numpy as np
import pytest
import torch

from handwriting.checkpoint import Checkpoint, save
from handwriting.drawing import write_digits
from handwriting.findings import (
    crossings,
    draw_run,
    height,
    measure_constants,
    measure_line_model,
    variation,
)
from handwriting.ladder import CONSTANTS
from handwriting.models.ensemble import Ensemble, EnsembleConfig
from handwriting.models.line_model import LineModel

pytest.importorskip("cv2")
matplotlib_image = pytest.importorskip("matplotlib.image")


def drawing(*points, lifted=()):
    flags = [number in lifted or number == len(points) - 1 for number in range(len(points))]
    return np.column_stack((np.array(points, float), flags))[None]


def test_crossings_of_plain_shapes():
    cross = ((0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    assert crossings(drawing(*cross)) == 1
    assert crossings(drawing(*cross, lifted=(1,))) == 1  # the jump crosses nothing
    assert crossings(drawing(*cross, lifted=(0,))) == 0
    zigzag = ((0.1, 0.1), (0.5, 0.9), (0.6, 0.1), (0.9, 0.9))
    assert crossings(drawing(*zigzag)) == 0
    ring = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.2))
    assert crossings(drawing(*ring)) == 0  # ends that touch
    retraced = ((0.2, 0.5), (0.8, 0.5), (0.8, 0.5), (0.2, 0.5))
    assert crossings(drawing(*retraced)) == 0


def test_crossings_are_where_the_lines_equations_have_a_common_solution():
    random = np.random.default_rng(0)
    drawings = np.zeros((40, 9, 3))
    drawings[..., :2] = random.random((40, 9, 2))
    drawings[..., 2] = random.random((40, 9)) < 0.2
    wanted = np.zeros(40)
    for number, (points, lifted) in enumerate(
        zip(drawings[..., :2], drawings[..., 2], strict=True)
    ):
        for first in range(8):
            for second in range(first + 2, 8):
                if lifted[first] or lifted[second]:
                    continue
                along = np.column_stack(
                    (points[first + 1] - points[first], points[second] - points[second + 1])
                )
                parts = np.linalg.solve(along, points[second] - points[first])
                wanted[number] += (parts > 0).all() and (parts < 1).all()
    assert wanted.sum() > 40
    np.testing.assert_array_equal(crossings(drawings), wanted)


def test_height_is_of_the_ink_alone():
    points = ((0.1, 0.1), (0.3, 0.2), (0.3, 0.7), (0.5, 0.6))
    assert height(drawing(*points)) == pytest.approx(0.6 * 28)
    assert height(drawing(*points, lifted=(0,))) == pytest.approx(0.5 * 28)
    assert height(drawing(*points, lifted=(0, 1, 2))) == 0


def test_variation_of_a_shifted_copy_is_the_shift_and_over_seeds_the_mean_of_pairs():
    line = drawing(*((0.2, y) for y in np.linspace(0.1, 0.9, 20)))
    shifted = [line + np.array((pixels / 28, 0, 0)) for pixels in (0, 3, 6)]
    assert variation(shifted[:2]) == pytest.approx(3, abs=1e-3)
    assert variation(shifted) == pytest.approx((3 + 3 + 6) / 3, abs=1e-3)
    empty = line.copy()
    empty[..., 2] = 1
    assert np.isnan(variation([line, empty])).all()


def test_constant_images_are_measured_by_value_and_drawn_for_zeros_and_ones(tmp_path):
    torch.manual_seed(0)
    model = Ensemble(EnsembleConfig(units=4))
    with torch.no_grad():
        model.projection.mul_(5)
    save(tmp_path / "a.safetensors", Checkpoint(model.config, model.state_dict()))
    found = measure_constants(tmp_path / "a.safetensors", tmp_path / "new" / "a.png")
    assert list(found) == [str(value) for value in CONSTANTS]
    labels = torch.arange(10)
    half, ones = (write_digits(model, torch.full((10, 28, 28), v), labels) for v in (0.5, 1.0))
    apart = 28 * np.sqrt(((half - ones)[..., :2] ** 2).sum(2)).mean(1)
    assert found["0.5"]["figures"]["unlike_ones"] == pytest.approx(apart.mean(), rel=1e-4)
    assert found["0.5"]["by_class"]["3"]["unlike_ones"] == pytest.approx(apart[3], rel=1e-4)
    assert found["1.0"]["figures"]["unlike_ones"] == 0
    assert found["1.0"]["figures"]["height"] == pytest.approx(height(ones).mean(), rel=1e-4)
    picture = matplotlib_image.imread(tmp_path / "new" / "a.png")[..., 0]
    rows = len(picture) // 6
    assert (picture[:rows] == 0).all() and (picture[3 * rows : 4 * rows] == 1).mean() > 0.8
    assert (tmp_path / "new" / "a.gif").exists()


@pytest.fixture
def grey(tmp_path):
    """File of a line model that draws 0.5 everywhere."""
    model = LineModel()
    with torch.no_grad():
        model.conv2.weight.zero_()
        model.conv2.bias.zero_()
    path = tmp_path / "grey.safetensors"
    save(path, Checkpoint(model.config, model.state_dict()))
    return path


def test_a_line_model_that_draws_grey_has_the_error_of_grey(
    grey, tmp_path, data_dir, thinned_cache
):
    found = measure_line_model(grey, tmp_path / "a.png", data_dir)
    assert found["mse"] == pytest.approx(0.25) and found["on_line"] == pytest.approx(0.5)
    assert 0.01 < found["empty_mse"] < 0.02
    # 19 segments of 0.5 sum up to 9.5 everywhere, and their maximum is 0.5.
    ink = found["blank_mse"]
    assert 0 < ink < 0.2 and found["traced_max_mse"] == pytest.approx(0.25)
    assert found["traced_mse"] == pytest.approx(9.5**2 * (1 - ink) + 8.5**2 * ink, rel=1e-5)
    assert (tmp_path / "a.png").exists()


def test_the_figure_of_a_run_shows_what_its_own_renderer_makes(
    grey, tmp_path, data_dir, thinned_cache
):
    model = Ensemble(EnsembleConfig(units=4, points=3))
    save(tmp_path / "a.safetensors", Checkpoint(model.config, model.state_dict()))
    white = {}
    for name, line_model in (("soft", None), ("grey", grey)):
        out = tmp_path / f"{name}.png"
        draw_run(tmp_path / "a.safetensors", out, data_dir, line_model)
        picture = matplotlib_image.imread(out)[..., 0]
        white[name] = (picture[2 * len(picture) // 3 :] == 1).mean()
        assert out.with_suffix(".gif").exists()
    assert white["soft"] < 0.3 and white["grey"] > 0.8  # two segments of 0.5 are white
