"""Gradients by finite differences, in float64 and away from kinks, which are test_kinks.py's.

A finite difference says something where all its steps stay on one side of every kink that
docs/math.md lists. Scenes are drawn at random, measured by `room`, and drawn again until they have
enough of it.
"""

import random

import pytest
import torch
from cases import COMPOSITES, COVERAGES, Case, random_case
from torch.autograd.gradcheck import GradcheckError, gradcheck

import softraster
from softraster import reference

WHAT_RUNS = [
    pytest.param(softraster.draw_segments, "cpu", id="op"),
    pytest.param(softraster.draw_segments, "cuda", id="op, cuda", marks=pytest.mark.cuda),
    pytest.param(softraster.reference.draw_segments, "cpu", id="reference"),
]


# An input moves by up to STEP, in its own units, so lengths and distances in the canvas's units
# move by a few STEP, a coverage by a few softness * STEP of itself: for the softness of random_case
# on the canvases here, at most 9 * 12, a few 1e-5.
STEP = 1e-7
ROOM, ROOM_OF_MAX = 1e-4, 1e-3
NO_COVERAGE = 1e-15  # what is fainter moves a difference quotient by NO_COVERAGE / STEP at most
SIZES = [(8, 8), (9, 7), (5, 12), (1, 9), (11, 4)]
BATCHES = [(3,), (1, 4), (2, 3), (2, 1, 2), (1,)]


def room(case, coverage, composite):
    """How far a scene is from its nearest kink, as a multiple of what keeps it safe.

    The kinks, of which "over", "sum" and "softor" have none of their own:
    - grid: dx = 0, dy = 0, |dx| = |dy|. A dot has dx = dy = 0.
    - capsule: a pixel on the axis, d = 0; a dot. Where the nearest point reaches an end, the first
      derivative does not jump.
    - max: two segments of equal coverage in a pixel. It matters by how much of itself the greater
      one exceeds the other, unless both are next to nothing.
    - softness, width and intensity at 0, where their range ends.
    """
    dx = (case.segments[..., 2] - case.segments[..., 0]).abs()
    dy = (case.segments[..., 3] - case.segments[..., 1]).abs()
    ranged = (case.softness, case.width, case.intensity)
    rooms = [x.min() / ROOM for x in ranged if x is not None]
    if coverage == "grid":
        covered = reference.grid_coverage(case.segments, case.softness, *case.size)
        rooms += [x.min() / ROOM for x in (dx, dy, (dx - dy).abs())]
    else:
        covered = reference.capsule_coverage(case.segments, case.softness, case.width, *case.size)
        # With softness 1 and no width, coverage is s(-d).
        one, none = torch.ones_like(dx), torch.zeros_like(dx)
        distance = -reference.capsule_coverage(case.segments, one, none, *case.size).logit()
        rooms += [distance.min() / ROOM, torch.maximum(dx, dy).min() / ROOM]
    if composite == "max" and covered.shape[-3] > 1:
        if case.intensity is not None:
            covered = covered * case.intensity[..., None, None]
        most, next_most = covered.topk(2, dim=-3).values.unbind(-3)
        gap = torch.where(most > NO_COVERAGE, 1 - next_most / most, 1)
        rooms.append(gap.min() / ROOM_OF_MAX)
    return torch.stack(rooms).min().item()


def smooth_case(seed, coverage, composite, shape, size, channels=None, intensity=True):
    """The first random scene from a seed on that has room to all kinks."""
    for attempt in range(100):
        number = 1000 * seed + attempt
        case = random_case(number, shape, size, intensity)
        case = case.dressed(coverage, composite, channels, number)
        if room(case, coverage, composite) > 1:
            return case
    raise AssertionError("these scenes hardly ever have room")


def draw_of(function, case, coverage, composite):
    """The canvas as a function of the case's tensors, and these, requiring gradients."""
    names = list(case.tensors)

    def draw(*tensors):
        given = dict(zip(names, tensors, strict=True))
        mode = {"coverage": coverage, "composite": composite, "tolerance": 0}
        return function(given.pop("segments"), given.pop("softness"), case.size, **given, **mode)

    return draw, [x.clone().requires_grad_() for x in case.tensors.values()]


def one(segment, *others, size=(8, 8), softness=60.0, **options):
    """A case of hand-made segments, a width each."""
    rows = torch.tensor([segment, *others], dtype=torch.float64)
    full = torch.full(rows.shape[:1], softness, dtype=torch.float64)
    return Case(rows, full, size, width=torch.full_like(full, 0.2), **options)


@pytest.mark.parametrize(
    ("coverage", "composite", "case"),
    [
        ("grid", "sum", one([0.1, 0.3, 0.8, 0.3])),
        ("grid", "sum", one([0.3, 0.1, 0.3, 0.8])),
        ("grid", "over", one([0.125, 0.25, 0.625, 0.75])),
        ("grid", "softor", one([0.125, 0.75, 0.625, 0.25])),
        ("grid", "sum", one([0.41, 0.63, 0.41, 0.63])),
        ("capsule", "sum", one([0.41, 0.63, 0.41, 0.63])),
        ("capsule", "sum", one([3 / 16, 5 / 16, 11 / 16, 9 / 16])),  # over centres of pixels
        ("capsule", "sum", one([0.1, 0.3, 0.8, 0.5], softness=0.0)),
        ("capsule", "max", one([0.1, 0.3, 0.8, 0.5], [0.1, 0.3, 0.8, 0.5], softness=20.0)),
        ("grid", "max", one([0.1, 0.3, 0.8, 0.5], [0.8, 0.5, 0.1, 0.3])),
        ("grid", "max", one([0.15, 0.3, 0.8, 0.5], [0.3, 0.15, 0.5, 0.8])),  # mirrored
    ],
)
def test_scenes_at_a_kink_have_no_room(coverage, composite, case):
    assert room(case, coverage, composite) < 1e-6
    away = torch.tensor([[0.0, 0.003, 0.007, 0.02], [0.051, -0.043, 0.032, 0.064]])
    moved = case.segments + away[: len(case.segments)]
    beside = Case(moved, case.softness + 1, case.size, width=case.width)
    assert room(beside, coverage, composite) > 1


@pytest.mark.parametrize(("function", "device"), WHAT_RUNS)
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("channels", [None, 1, 4])
@pytest.mark.parametrize("size", [(9, 7), (5, 12)], ids=str)
def test_gradcheck_to_every_input(function, device, coverage, composite, channels, size):
    case = smooth_case(sum(size), coverage, composite, (2, 3), size, channels).to(device)
    draw, inputs = draw_of(function, case, coverage, composite)
    assert gradcheck(draw, inputs, eps=STEP, atol=3e-5)


@pytest.mark.parametrize(("function", "device"), WHAT_RUNS)
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, 130), marks=pytest.mark.long)], ids=["5", "125"]
)
def test_gradcheck_of_random_scenes(function, device, coverage, composite, seeds):
    # The fast mode compares v J u with its difference quotient, for random u and v.
    for seed in seeds:
        choose = random.Random(f"{coverage} {composite} {seed}")
        shape, size, channels = (choose.choice(x) for x in (BATCHES, SIZES, (None, 1, 3)))
        case = smooth_case(
            seed, coverage, composite, shape, size, channels, intensity=choose.random() < 0.7
        )
        draw, inputs = draw_of(function, case.to(device), coverage, composite)
        try:
            gradcheck(draw, inputs, eps=STEP, atol=2e-8, rtol=1e-7, fast_mode=True)
        except GradcheckError as error:
            raise AssertionError(f"seed {seed}: {shape}, {size}, {channels} channels") from error


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_gradcheck_when_one_input_alone_requires_a_gradient(wanted, device):
    case = smooth_case(5, "grid", "sum", (3,), (8, 8)).to(device)
    inputs = [x.clone().requires_grad_(n == wanted) for n, x in enumerate(case.tensors.values())]
    assert gradcheck(
        lambda s, k, c: softraster.draw_segments(s, k, 8, intensity=c, tolerance=0),
        inputs,
        eps=STEP,
    )


def test_gradcheck_to_points_of_strokes(device):
    make = torch.Generator().manual_seed(1)
    points = torch.rand(2, 4, 3, dtype=torch.float64, generator=make) * torch.tensor([1, 1, 40.0])
    points = points.to(device).requires_grad_()
    assert gradcheck(
        lambda p: softraster.draw_strokes(p, 8, tolerance=0), points, eps=STEP, atol=2e-5
    )


def test_second_derivatives_raise(device):
    segments = torch.rand(2, 4, device=device, requires_grad=True)
    canvas = softraster.draw_segments(segments, 100.0, 16)
    (grad,) = torch.autograd.grad(canvas.square().sum(), segments, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        grad.sum().backward()
    nested = torch.func.jacrev(
        torch.func.grad(lambda s: softraster.draw_segments(s, 9.0, 16).sum())
    )
    with pytest.raises(RuntimeError, match="first derivatives only"):
        nested(segments.detach())
