"""The drawings that ship with the package: what the script draws, digits as people write them."""

import os

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from handwriting.data import load_thinned
from handwriting.dtw import dtw, path_points, unit_box
from handwriting.own_samples import COUNT, draw_own_samples
from handwriting.pendigits import load_pendigits
from handwriting.samples import load_samples, sample_images


@pytest.fixture(scope="module")
def samples():
    return load_samples("own")


def of(samples, digit):
    """Their x and y, (n, 20, 2)."""
    return samples.strokes[samples.labels == digit, :, :2].numpy()


def test_the_file_is_what_the_script_draws(samples):
    drawings, labels = draw_own_samples()
    assert samples.labels.tolist() == labels
    np.testing.assert_allclose(samples.strokes.numpy(), np.stack(drawings), rtol=0, atol=1e-5)


def test_another_seed_draws_others():
    first, second = (np.stack(draw_own_samples(seed)[0]) for seed in (1, 2))
    assert np.abs(first - second).max(axis=(1, 2)).min() > 0.01


def test_there_are_as_many_of_each_digit_and_no_two_alike(samples):
    assert np.bincount(samples.labels.numpy()).tolist() == [COUNT] * 10
    points = samples.strokes.numpy()
    apart = np.abs(points[:, None, :, :2] - points[None, :, :, :2]).max(axis=(2, 3))
    assert apart[~np.eye(len(apart), dtype=bool)].min() > 0.01


def test_they_lie_as_thinned_mnist_digits_do(samples):
    points = samples.strokes[..., :2].numpy()
    sides = 28 * np.ptp(points, axis=1).max(axis=1)
    assert abs(sides.mean() - 17) < 0.5 and sides.min() > 14.9 and sides.max() < 19.1
    images = sample_images(samples.strokes).numpy()
    rows, columns = np.mgrid[:28, :28] + 0.5
    ink = images.sum(axis=(1, 2))
    for axis in (rows, columns):
        assert np.abs((images * axis).sum(axis=(1, 2)) / ink - 14).max() < 1
    # Thinned MNIST digits have 38 pixels of ink on average.
    assert 34 < ink.mean() < 46


def test_the_pen_goes_the_way_that_people_know(samples):
    for digit in (0, 6, 8, 9):  # from the upper half, round to the left
        for drawing in of(samples, digit):
            assert drawing[0, 1] < 0.45 and drawing[4, 0] < drawing[0, 0]
    for digit in (1, 2, 3, 4, 7):  # begun above its end
        for drawing in of(samples, digit):
            assert drawing[0, 1] < 0.45 and drawing[-1, 1] > drawing[0, 1] + 0.1
    for drawing in of(samples, 2):
        assert drawing[-1, 0] > drawing[0, 0]


def test_fours_fives_and_ones_lift_the_pen_where_they_must(samples):
    lifts = samples.strokes[..., :-1, 2].sum(dim=1)
    by_digit = [set(lifts[samples.labels == digit].tolist()) for digit in range(10)]
    assert by_digit == [{0}, {0, 1}, {0}, {0}, {0, 1}, {0, 1}, {0}, {0, 1}, {0}, {0}]


needs_data = pytest.mark.skipif("SOFTRASTER_DATA" not in os.environ, reason="needs data")


@needs_data
def test_people_s_drawings_of_the_same_digit_run_the_same_way(samples):
    try:
        people = load_pendigits("test")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    known = unit_box(path_points(people.strokes.numpy()))
    paths = unit_box(path_points(samples.strokes.numpy()))
    forward = 0
    for path, label in zip(paths, samples.labels.tolist(), strict=True):
        same = known[people.labels.numpy() == label]
        as_drawn, back = (
            dtw(np.repeat(way[None], len(same), axis=0), same) for way in (path, path[::-1])
        )
        forward += as_drawn.min() < back.min()
    assert forward >= 0.99 * len(paths)


@needs_data
def test_the_nearest_mnist_digit_is_mostly_of_the_same_class(samples, cache_dir, monkeypatch):
    monkeypatch.setenv("SOFTRASTER_CACHE", str(cache_dir))
    digits = load_thinned("test")
    if len(digits.labels) < 10_000:
        pytest.skip("needs all of MNIST")
    drawn, known = (
        avg_pool2d(images.to(torch.float32)[:, None], 5, stride=1, padding=2).flatten(1)
        for images in (sample_images(samples.strokes), digits.images)
    )
    nearest = digits.labels[torch.cdist(drawn, known).argmin(dim=1)]
    assert (nearest == samples.labels).float().mean() >= 0.9
