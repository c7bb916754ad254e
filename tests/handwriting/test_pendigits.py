"""Pen paths as they come from the files, and images of them measured by their area."""

import os

import numpy as np
import pytest

from handwriting.data import DataError
from handwriting.pendigits import BOX, load_pendigits, pen_images, thinned_pen_images

pytest.importorskip("cv2")

ROW = "  0,100,  0, 50,  0,  0, 50,  0,100,  0,100, 50,100,100, 50,100, 4"


def save(folder, text):
    for name in ("pendigits.tra", "pendigits.tes"):
        (folder / name).write_text(text)
    return folder


def test_a_path_keeps_its_shape_in_the_box_and_y_goes_down(tmp_path):
    got = load_pendigits("test", save(tmp_path, ROW))
    assert got.labels.tolist() == [4]
    strokes = got.strokes.numpy()
    assert strokes.shape == (1, 8, 3) and strokes[0, :, 2].tolist() == [0] * 7 + [1]
    np.testing.assert_allclose(np.ptp(strokes[0, :, :2], axis=0), BOX, atol=1e-6)
    first, second, third = strokes[0, :3, :2]
    assert first[0] == second[0] == third[0] and first[1] < second[1] < third[1]
    # Three sides and a half of a box: its left, bottom and right, and half of the top.
    sides = np.array([[0, 0.5, 1], [0.5, 1, 1], [1, 0.5, 1], [0.75, 0, 0.5]])
    lengths = sides[:, 2] * np.array([BOX[1], BOX[0], BOX[1], BOX[0]])
    middle = (sides[:, :2] * BOX * lengths[:, None]).sum(axis=0) / lengths.sum()
    np.testing.assert_allclose(first + middle, 0.5, atol=0.3 / 28)


def test_more_points_lie_on_the_same_path(tmp_path):
    folder = save(tmp_path, ROW)
    few = load_pendigits("train", folder).strokes.numpy()[0, :, :2]
    many = load_pendigits("train", folder, points=50).strokes.numpy()[0, :, :2]
    np.testing.assert_allclose(many[[0, -1]], few[[0, -1]], atol=1e-6)
    steps = np.hypot(*np.diff(many, axis=0).T)
    assert steps.max() / np.median(steps) < 1.01
    # Corners are cut, by less than a step each.
    assert np.hypot(*np.diff(few, axis=0).T).sum() == pytest.approx(steps.sum(), rel=0.02)


def test_the_published_files_are_read_whole():
    folder = os.environ.get("SOFTRASTER_DATA")
    if not folder or not os.path.exists(os.path.join(folder, "pendigits")):
        pytest.skip("SOFTRASTER_DATA names no folder with pendigits")
    counts = {
        "train": [780, 779, 780, 719, 780, 720, 720, 778, 719, 719],
        "test": [363, 364, 364, 336, 364, 335, 336, 364, 336, 336],
    }
    for split, wanted in counts.items():
        got = load_pendigits(split)
        assert np.bincount(got.labels).tolist() == wanted
        inside = got.strokes[..., :2].numpy() * 28
        assert inside.min() >= 1.5 and inside.max() <= 26.5


@pytest.mark.parametrize("angle", [0, 20, 45, 77])
def test_a_line_is_inked_three_pixels_wide_with_round_ends(angle):
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    line = np.zeros((1, 2, 3))
    line[0, :, :2] = 0.5 + np.outer((-6, 6), direction) / 28 + 0.3 / 28
    image = pen_images(line)[0] / 255
    assert image.sum() == pytest.approx(12 * 3 + np.pi * 1.5**2, rel=0.005)
    y, x = np.indices(image.shape) + 0.5
    middle = ((image * x).sum(), (image * y).sum()) / image.sum()
    np.testing.assert_allclose(middle, 14.3, atol=0.02)


def test_lifted_segments_leave_no_ink():
    line = np.array([[[0.2, 0.5, 0], [0.5, 0.5, 1], [0.8, 0.5, 1]]])
    image = pen_images(line)[0]
    assert image[:, :16].any() and not image[:, 16:].any()


def test_thinned_images_have_the_line_alone():
    line = np.array([[[0.25, 0.5, 0], [0.75, 0.5, 1]]])
    thinned = thinned_pen_images(line)[0]
    assert set(np.nonzero(thinned)[0]) <= {13, 14} and thinned.sum() >= 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1, 2, 3\n", "it must have 17 columns"),
        (ROW.replace("50", "many"), "not a table of integers"),
        (ROW.replace(" 50", "150"), r"points must be in 0\.\.100"),
        (ROW[:-1] + "10", r"labels in 0\.\.9"),
    ],
)
def test_damaged_files_are_named(tmp_path, text, says):
    with pytest.raises(DataError, match=rf"pendigits\.tes: .*{says}"):
        load_pendigits("test", save(tmp_path, text))


def test_missing_files_and_bad_arguments_are_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"holds pendigits\.tra"):
        load_pendigits("train", tmp_path)
    monkeypatch.delenv("SOFTRASTER_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set SOFTRASTER_DATA"):
        load_pendigits("train")
    with pytest.raises(ValueError, match="split must be"):
        load_pendigits("all", tmp_path)
    with pytest.raises(ValueError, match="points must be at least 2, got 1"):
        load_pendigits("train", save(tmp_path, ROW), points=1)
