"""Transforms of drawings: known answers, what stays, and that only the generator decides."""

import math

import numpy as np
import pytest
import torch
from strokesets import ink_of, make_set

from handwriting.samples import resample
from handwriting.transforms import Affine, Resample, Slant, Speed

# An upright bar, lifted, a point in the air far off, and a line of three points below the bar.
DRAWING = torch.tensor(
    [
        *[(0.4, 0.2, 0), (0.4, 0.6, 1), (0.9, 0.9, 1)],
        *[(0.4, 0.8, 0), (0.5, 0.8, 0), (0.8, 0.8, 1)],
    ]
)
RANDOM = [Affine(), Slant(), Speed()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Extreme:
    """Stands in for a generator: torch.rand is 1 throughout, torch.randn likewise."""

    @pytest.fixture(autouse=True)
    def _extremes(self, monkeypatch):
        for name in ("rand", "randn"):
            monkeypatch.setattr(torch, name, lambda count, generator: torch.ones(count))


class TestAtTheEnds(Extreme):
    def test_affine_turns_stretches_and_shifts_about_the_middle_of_the_ink(self):
        # The ink's box is 0.4..0.8 by 0.2..0.8: its middle is (0.6, 0.5).
        moved = Affine(90, 2, 0.1)(DRAWING, generator())
        for (x, y, lifted), (new_x, new_y, new_lifted) in zip(
            DRAWING.tolist(), moved.tolist(), strict=True
        ):
            right, below = 2 * (x - 0.6), 2 * (y - 0.5)  # stretched, then a quarter clockwise
            assert new_x == pytest.approx(0.6 - below + 0.1, abs=1e-6)
            assert new_y == pytest.approx(0.5 + right + 0.1, abs=1e-6)
            assert new_lifted == lifted

    def test_slant_leans_the_top_to_the_right(self):
        moved = Slant(45)(DRAWING, generator())
        np.testing.assert_allclose(moved[:, 1:], DRAWING[:, 1:])
        np.testing.assert_allclose(moved[:, 0], DRAWING[:, 0] + (0.5 - DRAWING[:, 1]), atol=1e-6)

    def test_speed_moves_points_by_the_mean_of_its_two_waves(self):
        line = torch.tensor([(0.1 * i, 0.5, i == 8) for i in range(9)], dtype=torch.float32)
        moved = Speed(0.5)(line, generator())
        time = (np.arange(8) + 0.5) / 8
        steps = np.exp(0.5 * np.cos(np.pi * time) + 0.5 * np.cos(2 * np.pi * time))
        at = 0.8 * np.concatenate(([0], steps.cumsum() / steps.sum()))
        np.testing.assert_allclose(moved[:, 0], at, atol=1e-6)
        np.testing.assert_allclose(moved[:, 1:], line[:, 1:])


@pytest.mark.parametrize("transform", RANDOM, ids=repr)
def test_the_generator_alone_decides(transform):
    first = transform(DRAWING, generator(3))
    torch.manual_seed(7)
    np.random.seed(7)
    assert torch.equal(transform(DRAWING, generator(3)), first)
    assert not torch.equal(transform(DRAWING, generator(4)), first)
    assert first.dtype == torch.float32 and first.shape == DRAWING.shape


@pytest.mark.parametrize("transform", [*RANDOM, Resample(12)], ids=repr)
def test_the_drawing_that_was_given_is_left_alone(transform):
    before = DRAWING.clone()
    transform(DRAWING, generator())
    assert torch.equal(DRAWING, before)


@pytest.mark.parametrize("transform", [Affine(0, 1, 0), Slant(0), Speed(0)], ids=repr)
def test_an_amount_of_nothing_changes_nothing(transform):
    np.testing.assert_allclose(transform(DRAWING, generator()), DRAWING, atol=1e-6)


def test_shifts_and_angles_stay_in_their_range():
    angles, shifts = [], []
    for seed in range(200):
        moved = Affine(20, 1, 0.1)(DRAWING, generator(seed))
        x, y = (moved[1] - moved[0])[:2].tolist()  # what pointed down
        angles.append(math.degrees(math.atan2(-x, y)))
        shifts.append((moved[5] + moved[0] - DRAWING[5] - DRAWING[0]).abs().max() / 2)
    assert -20 < min(angles) < -18 and 18 < max(angles) < 20


def test_speed_keeps_points_on_their_lines_and_the_ends_of_these():
    for drawing in torch.from_numpy(make_set(60).strokes):
        moved = Speed(0.6)(drawing, generator(1))
        ends = np.flatnonzero(drawing[:, 2] > 0.5)
        kept = [0, *ends, *(ends[:-1] + 1)]
        assert torch.equal(moved[kept], drawing[kept])
        assert torch.equal(moved[:, 2], drawing[:, 2])
        segments = np.array(sorted(ink_of(drawing.numpy()))).reshape(-1, 4)
        for index in range(len(drawing)):
            if drawing[index, 2] > 0.5 or index in kept:
                continue
            start, way = segments[:, :2], segments[:, 2:] - segments[:, :2]
            to = moved[index, :2].numpy() - start
            part = np.clip((to * way).sum(axis=1) / (way**2).sum(axis=1), 0, 1)
            assert np.hypot(*(to - part[:, None] * way).T).min() < 1e-5


def test_speed_leaves_a_line_without_length_as_it_is():
    dot = torch.tensor([(0.3, 0.4, 0), (0.3, 0.4, 0), (0.3, 0.4, 1)])
    assert torch.equal(Speed(0.5)(dot, generator()), dot)


def test_resample_puts_points_as_samples_do():
    got = Resample(12)(DRAWING)
    np.testing.assert_allclose(got, resample(DRAWING.numpy(), 12), atol=1e-6)
    assert got.dtype == torch.float32 and got.shape == (12, 3)
    with pytest.raises(ValueError, match="2 pen-down chains do not fit in 3 points"):
        Resample(3)(DRAWING)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (Affine, {"degrees": -1}, "degrees must be a number of at least 0, got -1"),
        (Affine, {"scale": 0.5}, "scale must be a number of at least 1, got 0.5"),
        (Affine, {"shift": math.nan}, "shift must be a number of at least 0, got nan"),
        (Slant, {"degrees": 90}, "degrees must be under 90, got 90"),
        (Speed, {"amount": -0.1}, "amount must be"),
        (Resample, {"points": 1}, "points must be a number of at least 2, got 1"),
    ],
)
def test_bad_options_are_refused_by_name(kind, options, says):
    with pytest.raises(ValueError, match=says):
        kind(**options)
