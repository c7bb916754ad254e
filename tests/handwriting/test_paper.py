"""Paper: the ink is where the strokes are, in SVG, PNG and GIF alike."""

import io

import numpy as np
import pytest
import torch

import softraster
from handwriting.paper import INK, MARGIN, draw_paper, lines_of, smooth, to_gif, to_png

image = pytest.importorskip("PIL.Image")

HEIGHT = 40


def strokes(*lines):
    """(P, 3) of lines, each a list of points."""
    parts = []
    for line in lines:
        points = np.zeros((len(line), 3), np.float32)
        points[:, :2] = line
        points[-1, 2] = 1
        parts.append(points)
    return np.concatenate(parts)


CROSS = strokes([(0, -0.5), (0.4, -0.5), (1, -0.5)], [(0.5, -1), (0.5, 0)], [(1.5, -0.1)])


def pixels(png):
    return np.asarray(image.open(io.BytesIO(png))).astype(float) / 255


def test_the_sheet_fits_what_is_written_and_no_less_than_a_digit():
    assert draw_paper(CROSS, HEIGHT).size == (72, 92)  # 1 and 1.5 heights, margins of 0.4
    dot = strokes([(0.2, -0.1)])
    assert draw_paper(dot, HEIGHT).size == (72, 40)


def test_ink_is_on_the_lines_and_nowhere_else():
    ink = 1 - pixels(to_png(draw_paper(CROSS, HEIGHT)))
    rows, columns = np.indices(ink.shape)
    x, y = (columns + 0.5) / HEIGHT - MARGIN, (rows + 0.5) / HEIGHT - 1 - MARGIN
    across = np.hypot(np.clip(np.abs(x - 0.5) - 0.5, 0, None), y + 0.5)
    down = np.hypot(x - 0.5, np.clip(np.abs(y + 0.5) - 0.5, 0, None))
    away = np.minimum(np.minimum(across, down), np.hypot(x - 1.5, y + 0.1))
    assert (ink[away < INK / 2 - 0.6 / HEIGHT] > 0.9).all()
    assert (ink[away > INK / 2 + 0.8 / HEIGHT] < 0.05).all()
    assert ink.max() > 0.99 and ink.min() == 0


def test_the_svg_has_a_path_for_each_line_and_reads_back():
    pytest.importorskip("svgelements")
    drawing = draw_paper(CROSS, HEIGHT)
    text = softraster.to_svg(drawing)
    assert text.count("<path") == 3
    again = softraster.read_svg(text)
    assert again.size == drawing.size
    torch.testing.assert_close(again.curves, drawing.curves, atol=1e-4, rtol=0)


def test_curves_pass_through_the_points():
    random = np.random.default_rng(0)
    wild = strokes(random.normal(size=(9, 2)), random.normal(size=(5, 2)))
    curves = smooth(wild, pieces=6)
    points = np.concatenate((curves[0:49:6], curves[49::6]))
    np.testing.assert_allclose(points, wild, atol=1e-6)
    assert [len(line) for line in lines_of(curves)] == [49, 25]


def test_a_gif_ends_with_the_png_and_never_loses_ink():
    drawing = draw_paper(CROSS, HEIGHT)
    gif = image.open(io.BytesIO(to_gif(drawing)))
    assert gif.n_frames == len(drawing.curves)
    before = np.ones(drawing.size[::1])
    for number in range(gif.n_frames):
        gif.seek(number)
        frame = np.asarray(gif.convert("L")) / 255
        assert (frame <= before + 1e-6).all() and (frame < before).any()
        before = frame
    np.testing.assert_allclose(before, pixels(to_png(drawing)), atol=0.08)


def test_nothing_and_no_height_are_refused_by_name():
    with pytest.raises(ValueError, match="height must be at least 1, got 0"):
        draw_paper(CROSS, 0)
    with pytest.raises(ValueError, match="strokes must have at least one point"):
        draw_paper(CROSS[:0])
