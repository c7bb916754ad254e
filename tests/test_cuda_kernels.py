"""The CUDA kernels, emulated: against the CPU op, in several orders, under sanitizers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cases import COMPOSITES, COVERAGES, NAMED, Case, random_case
from cuda_emulator.operators import Operators, assert_agree, passes_of
from cuda_emulator.replay import replay
from torch import Tensor

modes = pytest.mark.parametrize(
    ("coverage", "composite"), [(a, b) for a in COVERAGES for b in COMPOSITES]
)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def crowd(
    seed: int,
    count: int,
    size: tuple[int, int],
    length: float,
    spot: tuple[float, float] | None = None,
) -> Case:
    """Segments up to `length` pixels long, all over the canvas or from one spot."""
    side = max(size)
    first = uniform(seed, count, 2) * torch.tensor([size[1] / side, size[0] / side])
    if spot is not None:
        first = torch.tensor(spot) + 0.02 * first
    second = first + (uniform(seed + 1, count, 2) - 0.5) * 2 * length / side
    softness = side * (4 + 4 * uniform(seed + 2, count))
    intensity = (0.1 if spot is None else 0.02) + 0.3 * uniform(seed + 3, count)
    return Case(torch.cat([first, second], 1), softness, size, intensity)


def mostly_elsewhere(seed: int, count: int) -> Case:
    """One in 40 segments is on the canvas."""
    case = crowd(seed, count, (12, 40), 3)
    case.segments[torch.arange(count) % 40 != 7] += 3
    return case


RANDOM = {
    f"random {seed}, {size}": random_case(seed, size=size)
    for seed, size in enumerate([(20, 28), (28, 20), (33, 33), (7, 50), (64, 64), (3, 3)])
}
LARGE = {
    "wider than a tile": random_case(31, shape=(2, 9), size=(45, 70)),
    "higher than a tile": random_case(32, shape=(2, 9), size=(70, 45)),
    "batch of shape (3, 5)": random_case(33, shape=(3, 5, 4), size=(13, 11)),
    "one segment": random_case(34, shape=(4, 1), size=(19, 40)),
    "no segments in a batch": random_case(35, shape=(3, 0), size=(9, 40)),
    "700 short ones": crowd(36, 700, (64, 64), 4),
    "300 on one spot": crowd(37, 300, (20, 36), 3, spot=(0.43, 0.27)),
    "9000, mostly elsewhere": mostly_elsewhere(39, 9000),
}


FAR = Case(
    torch.tensor(
        [[-1e24, 0.4, 3e24, 0.4], [0.3, -3e24, 0.3, 1e24], [0.1, 0.2, 0.8, 0.5]],
        dtype=torch.float64,
    ),
    torch.tensor([120.0, 150.0, 90.0], dtype=torch.float64),
    (28, 28),
)


def check(emulator, case, coverage, composite, dtype, tolerance=0.0):
    """Emulated kernels against the CPU op in float64, on the numbers that dtype holds.

    tolerance: for float64. The two devices visit different pixels around a segment: more than 0
    makes large scenes affordable.
    """
    case = case.to(dtype)
    expected = Operators(case.to(torch.float64), coverage, composite, tolerance).on_cpu()
    # What is left out of a pixel's gradient is below softness * tolerance.
    steepest = case.softness.max().item() if case.softness.numel() else 0
    if dtype == torch.float64:
        limits = (1e-12 + 100 * tolerance, 1e-9, 1e-13 + 100 * tolerance * steepest)
    else:
        tolerance, limits = 1e-6, (1e-5, 1e-4, 2e-6 * (1 + steepest))
    got = Operators(case, coverage, composite, tolerance).emulated(emulator)
    assert_agree(got, expected, *limits)


@dtypes
@modes
@pytest.mark.parametrize("channels", [None, 1, 3, 6])
@pytest.mark.parametrize("name", {**NAMED, **RANDOM})
def test_kernels_agree_with_the_cpu_op(emulator, name, channels, coverage, composite, dtype):
    case = {**NAMED, **RANDOM}[name].dressed(coverage, composite, channels)
    check(emulator, case, coverage, composite, dtype)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_kernels_agree_where_ends_are_1e24_canvases_away(emulator, composite):
    check(emulator, FAR, "grid", composite, torch.float64)


@dtypes
@modes
@pytest.mark.parametrize("channels", [None, 6])
@pytest.mark.parametrize("name", LARGE)
def test_kernels_agree_beyond_a_tile_and_a_list(
    emulator, name, channels, coverage, composite, dtype
):
    case = LARGE[name].dressed(coverage, composite, channels)
    check(emulator, case, coverage, composite, dtype, tolerance=1e-13)


@dtypes
@modes
def test_a_nan_stays_in_its_item_of_the_batch(emulator, coverage, composite, dtype):
    case = random_case(51, shape=(3, 40), size=(24, 37)).dressed(coverage, composite, 2).to(dtype)
    before = Operators(case, coverage, composite, 1e-6).emulated(emulator)
    for bad in {"segments", "softness", "width", "intensity"} & case.tensors.keys():
        broken = replace(case, **{bad: getattr(case, bad).clone()})
        broken.tensors[bad][1, 33] = float("nan")
        operators = Operators(broken, coverage, composite, 1e-6)
        got, expected = operators.emulated(emulator), operators.on_cpu()
        assert got.canvas[1].isnan().all(), bad
        assert torch.equal(got.canvas[[0, 2]], before.canvas[[0, 2]]), bad
        for name, grad in got.grads.items():
            assert torch.equal(grad[[0, 2]], before.grads[name][[0, 2]]), (bad, name)
            assert torch.equal(grad[1].isnan(), expected.grads[name][1].isnan()), (bad, name)


@dtypes
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("coverage", COVERAGES)
def test_opaque_and_absent_segments_under_over(emulator, coverage, channels, dtype):
    # Crisp lines along rows of pixels: there, their coverage is 1 to the last bit.
    lines = [[0.125, (row + 0.5) / 16, 0.875, (row + 0.5) / 16] for row in (4, 4, 9, 9, 4)]
    ends = torch.tensor([[0.1, 0.2, 0.8, 0.7], *lines, [0.2, 0.9, 0.7, 0.1]])
    case = Case(
        ends.double(),
        torch.tensor([80, *[1e6] * 5, 90]).double(),
        (16, 16),
        torch.tensor([0.7, 1, 0, 1, 1, 0, 0.4]).double(),
    ).dressed(coverage, "over", channels)
    if coverage == "capsule":
        case.width[1:6] = 1 / 16
    check(emulator, case, coverage, "over", dtype)
    case = case.to(dtype)
    got = Operators(case, coverage, "over", 1e-6).emulated(emulator)
    paint = torch.ones(1) if channels is None else case.color[1]
    hidden = got.canvas[..., 4, 3]  # of the first segment's pixels; the last passes far from it
    torch.testing.assert_close(hidden.flatten(), paint.to(dtype), rtol=0, atol=1e-5)
    assert all(grad.isfinite().all() for grad in got.grads.values())


@modes
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_tolerance_bounds_what_is_left_out(emulator, tolerance, coverage, composite):
    case = random_case(11, shape=(3, 9), size=(40, 56)).dressed(coverage, composite, None)
    exact = Operators(case, coverage, composite, 0.0).emulated(emulator).canvas
    canvas = Operators(case, coverage, composite, tolerance).emulated(emulator).canvas
    left_out = (exact - canvas).abs().max()
    assert 0 < left_out <= tolerance * (1 if composite == "max" else 9)


REPEATED = {
    "random": random_case(61, shape=(3, 12), size=(40, 44)),
    "off canvas": NAMED["off canvas"],
    "300 short ones": crowd(62, 300, (33, 48), 5),
    "100 on one spot": crowd(66, 100, (20, 36), 3, spot=(0.43, 0.27)),
}


@dtypes
@modes
@pytest.mark.parametrize("channels", [None, 6])
@pytest.mark.parametrize("name", REPEATED)
def test_bits_are_the_same_in_every_order_and_grid(
    emulator, name, channels, coverage, composite, dtype
):
    case = REPEATED[name].dressed(coverage, composite, channels).to(dtype)
    operators = Operators(case, coverage, composite, 1e-6)
    first = operators.emulated(emulator)
    for order, blocks in [(0, 3), (1, 2**31 - 1), (5, 3), (11, 2**31 - 1)]:
        emulator.set_order(order)
        emulator.set_max_blocks(blocks)
        assert operators.emulated(emulator).same_bits(first), (order, blocks)


SANITIZED = {
    name: NAMED[name]
    for name in ("slanted", "dot", "one column", "wide", "hard", "nothing to draw", "empty batch")
} | {
    "random": random_case(71, shape=(2, 5), size=(19, 41)),
    "300 on one spot": crowd(72, 300, (20, 36), 3, spot=(0.43, 0.27)),
    "600 short ones": crowd(76, 600, (20, 40), 3),
}


@pytest.mark.parametrize(
    ("order", "dtype", "rounding"), [(0, torch.float32, 1e-5), (5, torch.float64, 1e-12)]
)
def test_sanitizers_find_nothing_in_the_kernels(
    emulator, sanitized, order, dtype, rounding, tmp_path
):
    scenes = [
        Operators(case.dressed(coverage, composite, channels).to(dtype), coverage, composite, 1e-6)
        for case in SANITIZED.values()
        for coverage in COVERAGES
        for composite in COMPOSITES
        for channels in (None, 6)
    ]
    calls = [("set_order", (order,))] + [call for scene in scenes for call in scene.calls]
    results, printed = replay(sanitized, calls, tmp_path)
    assert not printed
    assert len(results) == len(calls)
    for at, scene in enumerate(scenes):
        got = passes_of(results[2 * at + 1 : 2 * at + 3])
        assert_agree(got, scene.emulated(emulator), rounding, rounding, rounding)
