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


@pytest.mark.parametrize("composite", ["sum", "max", "softor", "over"])
def test_width_and_color_of_a_curve_are_those_of_its_segments(composite):
    control = rand(2, 3, 4, 2, seed=1)
    width, color = 0.02 + 0.1 * rand(2, 3, seed=2), rand(2, 3, 3, seed=3)
    intensity = rand(3, seed=4)
    options = {"coverage": "capsule", "composite": composite}
    got = curves.draw_curves(
        control, 60.0, (9, 14), samples=5, width=width, color=color, intensity=intensity, **options
    )
    expected = softraster.draw_segments(
        torch.cat([CUTS[4](control[:, n], samples=5) for n in range(3)], dim=1),
        60.0,
        (9, 14),
        width=torch.stack([width[:, n // 5] for n in range(15)], dim=1),
        color=torch.stack([color[:, n // 5] for n in range(15)], dim=1),
        intensity=torch.stack([intensity[n // 5] for n in range(15)]),
        **options,
    )
    assert got.shape == (2, 3, 9, 14)
    assert torch.equal(got, expected)


def test_one_width_and_one_color_serve_all_curves():
    control = rand(2, 3, 4, 2)
    options = {"samples": 2, "coverage": "capsule", "composite": "over"}
    color = torch.tensor([0.2, 0.6, 0.9], dtype=F64)
    expected = curves.draw_curves(
        control,
        80.0,
        12,
        width=torch.full((2, 3), 0.07, dtype=F64),
        color=color.expand(2, 3, 3).clone(),
        **options,
    )
    for width in (0.07, torch.tensor(0.07, dtype=F64), torch.full((2, 1), 0.07, dtype=F64)):
        for given in (color[None], color.expand(2, 1, 3)):
            got = curves.draw_curves(control, 80.0, 12, width=width, color=given, **options)
            assert torch.equal(got, expected)


@pytest.mark.parametrize("composite", ["softor", "over"])
def test_gradients_to_width_and_color_sum_over_the_segments_of_a_curve(composite):
    control = rand(2, 4, 2, seed=5)
    width = torch.tensor([0.05, 0.11], dtype=F64, requires_grad=True)
    color = rand(2, 3, seed=6).requires_grad_()
    weight = rand(3, 10, 10, seed=7)
    options = {"coverage": "capsule", "composite": composite, "tolerance": 0}
    canvas = curves.draw_curves(control, 40.0, 10, samples=4, width=width, color=color, **options)
    got = torch.autograd.grad((weight * canvas).sum(), (width, color))

    segments = torch.cat([CUTS[4](control[n], samples=4) for n in range(2)])
    each_width = torch.stack([width[n // 4] for n in range(8)]).detach().requires_grad_()
    each_color = torch.stack([color[n // 4] for n in range(8)]).detach().requires_grad_()
    canvas = softraster.draw_segments(
        segments, 40.0, 10, width=each_width, color=each_color, **options
    )
    each = torch.autograd.grad((weight * canvas).sum(), (each_width, each_color))
    assert all(grad.abs().min() > 0 for grad in got)
    torch.testing.assert_close(got[0], torch.stack([each[0][:4].sum(), each[0][4:].sum()]))
    torch.testing.assert_close(got[1], torch.stack([each[1][:4].sum(0), each[1][4:].sum(0)]))


def test_draw_curves_gives_gradients_to_width_and_color():
    control = (0.1 + 0.8 * rand(2, 4, 2, seed=3)).requires_grad_()
    width = torch.tensor([0.06, 0.1], dtype=F64, requires_grad=True)
    color = rand(2, 2, seed=8).requires_grad_()

    def draw(control, width, color):
        return curves.draw_curves(
            control,
            30.0,
            8,
            samples=3,
            width=width,
            color=color,
            coverage="capsule",
            composite="over",
            tolerance=0,
        )

    assert torch.autograd.gradcheck(draw, (control, width, color))


def test_draw_polyline_takes_a_width_and_a_color_for_each_segment():
    points = rand(2, 5, 2)
    width, color = 0.02 + 0.1 * rand(2, 5, seed=2), rand(5, 3, seed=3)
    options = {"width": width, "color": color, "coverage": "capsule", "composite": "over"}
    got = curves.draw_polyline(points, 60.0, 12, closed=True, **options)
    segments = torch.cat([points, points[:, [1, 2, 3, 4, 0]]], dim=-1)
    assert torch.equal(got, softraster.draw_segments(segments, 60.0, 12, **options))
