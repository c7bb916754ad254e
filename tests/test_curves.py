"""Curves: the points against slow evaluations, the flatness bound against dense sampling."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

from softraster import curves

F64 = torch.float64


def rand(*shape, seed=0, dtype=F64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def bernstein(control, t):
    """A Bezier curve's point in exact arithmetic."""
    degree = len(control) - 1
    weights = [comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
    return [
        float(sum(w * Fraction(p[axis]) for w, p in zip(weights, control, strict=True)))
        for axis in (0, 1)
    ]


def barry_goldman(p, alpha, t):
    """The point at t from 0 to 1 between p[1] and p[2], by the pyramid of Barry and Goldman."""
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1) ** alpha)])
    u = knots[1] + t * (knots[2] - knots[1])

    def between(a, b, i, j):
        return ((knots[j] - u) * a + (u - knots[i]) * b) / (knots[j] - knots[i])

    a = [between(p[i], p[i + 1], i, i + 1) for i in range(3)]
    b = [between(a[i], a[i + 1], i, i + 2) for i in range(2)]
    return between(b[0], b[1], 1, 2)


def distance_to_segments(points, segments):
    """The largest distance of any of the points, (M, 2), to the nearest of the segments."""
    start, step = segments[:, :2], segments[:, 2:] - segments[:, :2]
    t = ((points[:, None] - start) * step).sum(-1) / (step * step).sum(-1).clamp_min(1e-30)
    nearest = start + t.clamp(0, 1)[..., None] * step
    return (points[:, None] - nearest).norm(dim=-1).min(1).values.max().item()


def starts_and_ends(segments):
    return torch.cat([segments[..., :2], segments[..., -1:, 2:]], dim=-2)


CUTS = {3: curves.quadratic_bezier, 4: curves.cubic_bezier}


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_beziers_are_bernstein_polynomials_evaluated_exactly(count, samples):
    control = rand(count, 2)
    got = starts_and_ends(CUTS[count](control, samples=samples))
    expected = [bernstein(control.tolist(), Fraction(n, samples)) for n in range(samples + 1)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=F64), rtol=0, atol=1e-15)
    assert torch.equal(got[0], control[0]) and torch.equal(got[-1], control[-1])


@pytest.mark.parametrize("count", [3, 4])
def test_segments_of_a_curve_join_without_gap(count):
    segments = CUTS[count](rand(2, 5, count, 2, dtype=torch.float32), samples=6)
    assert torch.equal(segments[..., :-1, 2:], segments[..., 1:, :2])


def test_polyline_joins_neighbours_and_closes_on_request():
    points = rand(4, 2)
    a, b, c, d = points.tolist()
    assert curves.polyline(points).tolist() == [a + b, b + c, c + d]
    assert curves.polyline(points, closed=True).tolist() == [a + b, b + c, c + d, d + a]


@pytest.mark.parametrize("alpha", [0, 0.3, 0.5, 1])
def test_catmull_rom_is_the_pyramid_of_barry_and_goldman(alpha):
    points = rand(6, 2)
    got = starts_and_ends(curves.catmull_rom(points, alpha=alpha, samples=8)).reshape(-1, 2)
    p = points.numpy()
    p = np.concatenate([[2 * p[0] - p[1]], p, [2 * p[-1] - p[-2]]])
    expected = [barry_goldman(p[i : i + 4], alpha, n / 8) for i in range(5) for n in range(8)]
    np.testing.assert_allclose(got[:-1], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_closed_catmull_rom_is_the_pyramid_all_around(alpha):
    points = rand(5, 2)
    got = curves.catmull_rom(points, alpha=alpha, closed=True, samples=4)
    p = points.numpy()
    expected = [
        barry_goldman(p[[(i + k) % 5 for k in (-1, 0, 1, 2)]], alpha, n / 4)
        for i in range(5)
        for n in range(4)
    ]
    np.testing.assert_allclose(got[:, :2], expected, rtol=0, atol=1e-13)
    assert torch.equal(got[-1, 2:], got[0, :2])


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_catmull_rom_passes_exactly_through_its_points(alpha, closed):
    points = rand(3, 6, 2, dtype=torch.float32)
    segments = curves.catmull_rom(points, alpha=alpha, closed=closed, samples=5)
    pieces = 6 if closed else 5
    assert segments.shape == (3, pieces * 5, 4)
    assert torch.equal(segments[:, ::5, :2], points[:, :pieces])


def test_catmull_rom_has_one_tangent_at_each_point():
    control = curves.catmull_rom_bezier(rand(7, 2), closed=True)
    arriving = control[:, 3] - control[:, 2]
    leaving = (control[:, 1] - control[:, 0]).roll(-1, 0)
    cross = arriving[:, 0] * leaving[:, 1] - arriving[:, 1] * leaving[:, 0]
    assert cross.abs().max() < 1e-14 and ((arriving * leaving).sum(1) > 0).all()


def test_catmull_rom_through_points_in_line_is_that_line():
    points = torch.tensor([[0.1, 0.2], [0.2, 0.25], [0.6, 0.45], [0.9, 0.6]], dtype=F64)
    ends = starts_and_ends(curves.catmull_rom(points, samples=9))
    assert (ends[:, 1] - (ends[:, 0] / 2 + 0.15)).abs().max() < 1e-15
    assert (ends[1:, 0] > ends[:-1, 0]).all()


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("closed", [False, True])
def test_few_points_make_few_segments(count, closed):
    pieces = count if closed else max(count - 1, 0)
    points = rand(2, count, 2)
    assert curves.polyline(points, closed=closed).shape == (2, pieces, 4)
    assert curves.catmull_rom(points, closed=closed, samples=3).shape == (2, 3 * pieces, 4)
    if pieces == 0:
        assert curves.catmull_rom(points, closed=closed, flatness=1, size=9).shape == (2, 0, 4)


def test_raising_the_degree_keeps_the_curve():
    for count in (2, 3, 4):
        control = rand(3, count, 2)
        raised = curves.to_cubic(control)
        for before, after in zip(control.tolist(), raised.tolist(), strict=True):
            for t in (Fraction(0), Fraction(1, 3), Fraction(5, 7), Fraction(1)):
                assert bernstein(after, t) == pytest.approx(bernstein(before, t), abs=1e-15)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("flatness", [0.05, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_flatness_bounds_the_distance_in_pixels(count, flatness, seed):
    control = rand(6, count, 2, seed=seed) * 2 - 0.5
    size = (40, 64)
    segments = CUTS[count](control, flatness=flatness, size=size)
    dense = starts_and_ends(CUTS[count](control, samples=997))
    worst = max(distance_to_segments(points, s) for points, s in zip(dense, segments, strict=True))
    assert worst * 64 <= flatness


def test_flatness_bounds_the_distance_of_a_catmull_rom_spline():
    points = rand(8, 2)
    segments = curves.catmull_rom(points, flatness=0.1, size=28)
    dense = starts_and_ends(curves.catmull_rom(points, samples=499))
    assert distance_to_segments(dense, segments) * 28 <= 0.1


def test_one_segment_less_than_flatness_takes_would_break_it():
    # Symmetric, so that the middle one of 3 chords lies level below the vertex: the bound is tight.
    control = torch.tensor([[0, 0], [0.5, 0.9], [1, 0]], dtype=F64)
    deviation = 1.8 / 4 / 9 * 100
    dense = starts_and_ends(curves.quadratic_bezier(control, samples=3000))
    segments = curves.quadratic_bezier(control, flatness=0.999 * deviation, size=(50, 100))
    assert len(segments) == 4
    assert distance_to_segments(dense, segments) * 100 <= 0.999 * deviation
    fewer = curves.quadratic_bezier(control, samples=3)
    assert distance_to_segments(dense, fewer) * 100 > 0.999 * deviation
    assert len(curves.quadratic_bezier(control, flatness=1.001 * deviation, size=(50, 100))) == 3


def test_straight_curves_take_one_segment_and_a_batch_the_count_of_its_worst():
    straight = torch.tensor([[0.1, 0.1], [0.4, 0.3], [0.7, 0.5]], dtype=F64)
    bent = torch.tensor([[0.1, 0.1], [0.4, 0.9], [0.7, 0.1]], dtype=F64)
    options = {"flatness": 0.1, "size": 28}
    assert len(curves.quadratic_bezier(straight, **options)) == 1
    count = len(curves.quadratic_bezier(bent, **options))
    assert count > 1
    both = curves.quadratic_bezier(torch.stack([straight, bent]), **options)
    assert both.shape == (2, count, 4)


def test_nan_has_no_say_in_the_count_and_stays_in_its_own_curve():
    control = rand(3, 4, 2)
    dirty = control.clone()
    dirty[1, 2, 0] = torch.nan
    dirty[2, 0, 1] = torch.inf
    clean = curves.cubic_bezier(control[:1], flatness=0.1, size=28)
    got = curves.cubic_bezier(dirty, flatness=0.1, size=28)
    assert torch.equal(got[:1], clean)
    assert got[1].isnan().any() and not got[2].isfinite().all()


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,), (2, 0)], ids=str)
def test_a_batch_is_cut_one_by_one(batch):
    control, points = rand(*batch, 4, 2), rand(*batch, 5, 2)
    for cut, x, tail in [
        (lambda c: curves.cubic_bezier(c, samples=3), control, (4, 2)),
        (lambda c: curves.quadratic_bezier(c[..., :3, :], samples=3), control, (4, 2)),
        (lambda p: curves.catmull_rom(p, samples=3), points, (5, 2)),
        (lambda p: curves.catmull_rom(p, closed=True, samples=3), points, (5, 2)),
    ]:
        got = cut(x)
        assert got.shape[:-2] == batch
        flat = got.reshape(-1, *got.shape[-2:])
        assert all(torch.equal(a, cut(b)) for a, b in zip(flat, x.reshape(-1, *tail), strict=True))


def test_gradients_agree_with_finite_differences():
    check = torch.autograd.gradcheck
    control, points = rand(2, 4, 2).requires_grad_(), rand(2, 4, 2, seed=1).requires_grad_()
    assert check(lambda c: curves.quadratic_bezier(c[:, :3], samples=3), control)
    assert check(lambda c: curves.cubic_bezier(c, samples=3), control)
    assert check(lambda c: curves.cubic_bezier(c, flatness=1, size=28), control)
    assert check(lambda p: curves.polyline(p, closed=True), points)
    for alpha in (0, 0.5, 1):
        for closed in (False, True):
            options = {"alpha": alpha, "closed": closed, "samples": 3}
            assert check(lambda p, options=options: curves.catmull_rom(p, **options), points)


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize(
    "repeat", [[0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2], [0, 1, 1, 1], [0, 0, 0, 0]], ids=str
)
def test_coincident_points_have_finite_values_and_gradients(repeat, dtype, alpha):
    points = rand(3, 2, dtype=dtype)[repeat].requires_grad_()
    for closed in (False, True):
        segments = curves.catmull_rom(points, alpha=alpha, closed=closed, samples=5)
        (grad,) = torch.autograd.grad(segments.square().sum(), points)
        assert segments.isfinite().all() and grad.isfinite().all()
        inside = (points.amin(0) - 1, points.amax(0) + 1)
        ends = starts_and_ends(segments)
        assert ((ends > inside[0]) & (ends < inside[1])).all()


@pytest.mark.parametrize("count", [3, 4])
def test_straight_and_pointlike_beziers_have_finite_gradients(count):
    for control in (torch.linspace(0, 1, count)[:, None].repeat(1, 2), torch.full((count, 2), 0.3)):
        control.requires_grad_()
        segments = CUTS[count](control, flatness=0.1, size=28)
        assert len(segments) == 1
        assert torch.autograd.grad(segments.square().sum(), control)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    points = rand(5, 2, dtype=torch.float32).to(dtype)
    control = curves.catmull_rom_bezier(points)
    assert torch.equal(control, curves.catmull_rom_bezier(points.float()).to(dtype))
    got = curves.cubic_bezier(control, samples=4)
    assert torch.equal(got, curves.cubic_bezier(control.float(), samples=4).to(dtype))


def test_autocast_does_not_round_points():
    control = rand(4, 2, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = curves.cubic_bezier(control, samples=4)
    assert torch.equal(got, curves.cubic_bezier(control, samples=4))


def test_samples_compile_whole_export_and_vmap():
    torch._dynamo.reset()
    inputs = rand(3, 5, 2), rand(3, 4, 2)

    class Cut(torch.nn.Module):
        def forward(self, p, c):
            return curves.catmull_rom(p, samples=3), curves.cubic_bezier(c, samples=3)

    cut = Cut()
    compiled = torch.compile(cut, fullgraph=True, backend="aot_eager")
    exported = torch.export.export(cut, inputs).module()
    for function in (compiled, exported, torch.vmap(cut)):
        for got, expected in zip(function(*inputs), cut(*inputs), strict=True):
            assert torch.equal(got, expected)


C3, C4, P5 = torch.zeros(3, 2), torch.zeros(4, 2), torch.zeros(5, 2)
BAD_ARGUMENTS = {
    "points a list": (lambda: curves.polyline([[0, 0]]), TypeError, "points .* got list"),
    "points of ints": (lambda: curves.polyline(P5.long()), TypeError, "points .* got torch.int64"),
    "points of shape (4, 3)": (
        lambda: curves.catmull_rom(torch.zeros(4, 3), samples=2),
        ValueError,
        r"points .*P, 2.* got \(4, 3\)",
    ),
    "control of a cubic": (
        lambda: curves.quadratic_bezier(C4, samples=2),
        ValueError,
        r"control .*3, 2.* got \(4, 2\)",
    ),
    "control of a quadratic": (
        lambda: curves.cubic_bezier(C3, samples=2),
        ValueError,
        r"control .*4, 2.* got \(3, 2\)",
    ),
    "control of five points": (lambda: curves.to_cubic(P5), ValueError, r"control .* got \(5, 2\)"),
    "neither samples nor flatness": (
        lambda: curves.cubic_bezier(C4),
        TypeError,
        "one of samples and flatness .* got samples=None and flatness=None",
    ),
    "both samples and flatness": (
        lambda: curves.cubic_bezier(C4, samples=2, flatness=0.1, size=8),
        TypeError,
        "one of samples and flatness .* got samples=2 and flatness=0.1",
    ),
    "samples 0": (lambda: curves.cubic_bezier(C4, samples=0), ValueError, "samples .* got 0"),
    "samples a float": (
        lambda: curves.cubic_bezier(C4, samples=2.0),
        TypeError,
        "samples .* got float",
    ),
    "flatness 0": (
        lambda: curves.cubic_bezier(C4, flatness=0, size=8),
        ValueError,
        "flatness .* got 0",
    ),
    "flatness NaN": (
        lambda: curves.cubic_bezier(C4, flatness=float("nan"), size=8),
        ValueError,
        "flatness .* got nan",
    ),
    "flatness a string": (
        lambda: curves.cubic_bezier(C4, flatness="fine", size=8),
        TypeError,
        "flatness .* got str",
    ),
    "flatness without size": (
        lambda: curves.cubic_bezier(C4, flatness=0.1),
        TypeError,
        "size .* flatness.* got None",
    ),
    "flatness out of reach": (
        lambda: curves.cubic_bezier(C4 + 1e12 * torch.eye(4, 2), flatness=0.1, size=8),
        ValueError,
        "flatness .* 65536 .* 0.1 takes",
    ),
    "size 0": (lambda: curves.cubic_bezier(C4 + 1.0, flatness=1, size=0), ValueError, "size .* 0"),
    "alpha 2": (lambda: curves.catmull_rom_bezier(P5, alpha=2), ValueError, "alpha .* got 2"),
    "alpha NaN": (
        lambda: curves.catmull_rom_bezier(P5, alpha=float("nan")),
        ValueError,
        "alpha .* got nan",
    ),
    "alpha None": (
        lambda: curves.catmull_rom_bezier(P5, alpha=None),
        TypeError,
        "alpha .* got NoneType",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_what_names_them(name):
    call, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()
