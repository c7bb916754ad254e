"""Curves and polylines on a canvas: what is per curve, gradients, errors."""

import pytest
import torch

import softraster
from softraster import curves

F64 = torch.float64
CUTS = {3: curves.quadratic_bezier, 4: curves.cubic_bezier}


def rand(*shape, seed=0, dtype=F64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [3, 4])
def test_draw_curves_draws_the_segments_of_all_its_curves(count):
    control = rand(2, 5, count, 2, dtype=torch.float32)
    softness = 60 + 100 * rand(2, 5, dtype=torch.float32)
    intensity = rand(5, dtype=torch.float32)
    canvas = curves.draw_curves(
        control, softness, (20, 28), samples=4, intensity=intensity, composite="max"
    )
    for b in range(2):
        layers = [
            softraster.draw_segments(
                CUTS[count](control[b, n], samples=4),
                softness[b, n].item(),
                (20, 28),
                intensity=intensity[n].item(),
                composite="max",
            )
            for n in range(5)
        ]
        torch.testing.assert_close(canvas[b], torch.stack(layers).amax(0))


def test_draw_curves_keeps_a_tenth_of_a_pixel_by_default():
    control = rand(5, 4, 2)
    expected = curves.draw_curves(control, 90.0, 28, flatness=0.1, tolerance=0)
    assert torch.equal(curves.draw_curves(control, 90.0, 28, tolerance=0), expected)


def test_draw_curves_gives_gradients_per_curve():
    control = (0.1 + 0.8 * rand(2, 4, 2, seed=3)).requires_grad_()
    softness = torch.tensor([30.0, 50.0], dtype=F64, requires_grad=True)
    intensity = torch.tensor([0.4, 0.9], dtype=F64, requires_grad=True)

    def draw(control, softness, intensity):
        return curves.draw_curves(
            control, softness, 10, samples=3, intensity=intensity, tolerance=0
        )

    assert torch.autograd.gradcheck(draw, (control, softness, intensity))


def test_draw_curves_takes_one_value_for_all_curves():
    control = rand(2, 3, 4, 2)
    expected = curves.draw_curves(control, 80.0, 16, samples=2, intensity=0.5)
    for softness in (torch.tensor(80.0), torch.full((1,), 80.0), torch.full((2, 1), 80.0)):
        intensity = torch.full_like(softness, 0.5).double()
        got = curves.draw_curves(control, softness.double(), 16, samples=2, intensity=intensity)
        assert torch.equal(got, expected)


def test_what_there_is_one_of_per_curve_is_repeated_for_its_segments():
    repeat = curves._per_segment
    assert repeat("width", torch.tensor([[1, 2], [3, 4]]), 2, 3, -1).tolist() == [
        [1, 1, 1, 2, 2, 2],
        [3, 3, 3, 4, 4, 4],
    ]
    color = torch.tensor([[1, 2], [3, 4], [5, 6]])
    assert repeat("color", color, 3, 2, -2).tolist() == [[1, 2]] * 2 + [[3, 4]] * 2 + [[5, 6]] * 2
    assert repeat("color", color[:1], 3, 2, -2).tolist() == [[1, 2]] * 6
    assert repeat("color", color[:0], 0, 2, -2).shape == (0, 2)
    assert repeat("width", 0.1, 3, 2, -1) == 0.1
    with pytest.raises(ValueError, match=r"color .* N, C.* N = 2 .* got \(3, 2\)"):
        repeat("color", color, 2, 2, -2)


def test_no_curves_draw_nothing():
    for options in ({"samples": 3}, {"flatness": 0.2}):
        canvas = curves.draw_curves(torch.zeros(2, 0, 4, 2), torch.zeros(2, 0), 8, **options)
        assert torch.equal(canvas, torch.zeros(2, 8, 8))


def test_draw_polyline_draws_its_segments():
    points = rand(2, 5, 2, dtype=torch.float32)
    softness = 50 + rand(2, 5, dtype=torch.float32)
    got = curves.draw_polyline(points, softness, 16, closed=True, intensity=0.5, composite="max")
    ends = torch.cat([points, points[:, :1]], dim=1)
    segments = torch.cat([ends[:, :-1], ends[:, 1:]], dim=-1)
    expected = softraster.draw_segments(segments, softness, 16, intensity=0.5, composite="max")
    assert torch.equal(got, expected)
    assert torch.equal(
        curves.draw_polyline(points, 50.0, 16), softraster.draw_segments(segments[:, :-1], 50.0, 16)
    )


C4 = torch.zeros(4, 2)
BAD_ARGUMENTS = {
    "control of one curve": (
        lambda: curves.draw_curves(C4, 9.0, 8),
        ValueError,
        r"control .*N, 3 or 4, 2.* got \(4, 2\)",
    ),
    "softness per segment": (
        lambda: curves.draw_curves(C4.expand(3, 4, 2), torch.ones(6), 8, samples=2),
        ValueError,
        r"softness .* N = 3 curves, got \(6,\)",
    ),
    "intensity of another shape": (
        lambda: curves.draw_curves(C4[None], 1.0, 8, samples=2, intensity=torch.ones(2)),
        ValueError,
        r"intensity .* N = 1 curves, got \(2,\)",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_what_names_them(name):
    call, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()
