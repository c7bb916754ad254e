"""Random lines: drawn as the post draws them, a batch the same whoever draws it."""

import numpy as np
import pytest
import torch

from handwriting.lines import draw_lines, line_batches

pytest.importorskip("cv2")


def same(batch, other):
    return all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


def test_a_line_joins_the_pixels_of_its_ends_without_a_gap_or_a_bulge():
    segments, images = draw_lines(0, 0, 500)
    pixels = (28 * segments[:, [0, 1, 3, 4]].double()).int().tolist()
    for (x1, y1, x2, y2), lifted, image in zip(pixels, segments[:, 2], images, strict=True):
        if lifted:
            assert not image.any()
            continue
        assert image[y1, x1] == image[y2, x2] == 1
        # One pixel in each column, or in each row where it is steep, and no ink elsewhere.
        steep = abs(y2 - y1) > abs(x2 - x1)
        first, last = sorted((y1, y2) if steep else (x1, x2))
        across = image.sum(1 if steep else 0)
        wanted = torch.zeros(28, dtype=torch.int64)
        wanted[first : last + 1] = 1
        assert torch.equal(across, wanted)
        inked = image.nonzero().double()
        middle = (inked[:, 1] - x1) * (y2 - y1) - (inked[:, 0] - y1) * (x2 - x1)
        assert (middle.abs() <= 0.51 * max(abs(x2 - x1), abs(y2 - y1))).all()


def test_ends_are_uniform_and_a_fifth_of_them_lifted():
    segments = draw_lines(0, 0, 20_000)[0].numpy()
    lifted, ends = segments[:, [2, 5]], segments[:, [0, 1, 3, 4]]
    assert set(np.unique(lifted)) == {0, 1}
    assert np.abs(lifted.mean(0) - 0.2).max() < 4 * (0.16 / 20_000) ** 0.5
    assert ends.min() >= 0 and ends.max() <= 1
    for column in ends.T:
        counts = np.histogram(column, 20, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi square of 19, p < 1e-5
    correlation = np.corrcoef(segments.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / 20_000**0.5


def test_a_batch_is_a_function_of_seed_and_step():
    assert same(draw_lines(3, 7, 20), draw_lines(3, 7, 20))
    assert not same(draw_lines(3, 7, 20), draw_lines(3, 8, 20))
    assert not same(draw_lines(3, 7, 20), draw_lines(4, 7, 20))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_give_every_step_once_and_in_turn(workers):
    steps = range(5, 112)
    batches = list(line_batches(1, steps, 3, workers))
    assert len(batches) == len(steps)
    assert all(
        same(batch, draw_lines(1, step, 3)) for step, batch in zip(steps, batches, strict=True)
    )


def test_no_steps_give_no_batches():
    assert list(line_batches(0, range(9, 9), 3, 1)) == []
