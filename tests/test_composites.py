"""Composites by hand: what a pixel and its derivatives must be where coverage is exactly 0 or 1."""

import pytest
import torch

import softraster

# Discs so hard and wide that the one pixel of the canvas is inside: coverage is 1 to the bit.
DISC = [0.5, 0.5, 0.5, 0.5]
FULL = {"coverage": "capsule", "width": 10.0}


@pytest.fixture
def stack(device):
    """Value of the pixel under `count` full discs, and its derivatives by argument."""

    def draw(count, intensity, color=None, background=None, composite="over", dtype=torch.float64):
        options = {"dtype": dtype, "device": device, "requires_grad": True}
        given = {"intensity": intensity, "color": color, "background": background}
        given = {n: torch.tensor(x, **options) for n, x in given.items() if x is not None}
        segments = torch.tensor([DISC] * count, dtype=dtype, device=device)
        canvas = softraster.draw_segments(segments, 1e5, 1, composite=composite, **FULL, **given)
        grads = torch.autograd.grad(canvas.sum(), list(given.values()))
        got = {name: grad.tolist() for name, grad in zip(given, grads, strict=True)}
        return canvas.flatten().tolist(), got

    return draw


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestSaturated:
    def test_softor_under_one_full_segment_leaves_the_other_nothing(self, dtype, stack):
        # 1 - (1 - a) (1 - b) at a = 1, b = 1/2: d/da = 1 - b, d/db = 1 - a.
        value, grads = stack(2, [1.0, 0.5], composite="softor", dtype=dtype)
        assert value == [1.0]
        assert grads["intensity"] == [0.5, 0.0]

    def test_softor_of_two_full_segments_has_no_gradient(self, dtype, stack):
        _, grads = stack(2, [1.0, 1.0], composite="softor", dtype=dtype)
        assert grads["intensity"] == [0.0, 0.0]

    def test_softor_of_one_full_segment_has_the_gradient_one(self, dtype, stack):
        _, grads = stack(1, [1.0], composite="softor", dtype=dtype)
        assert grads["intensity"] == [1.0]

    def test_softor_under_a_nearly_full_segment_leaves_the_other_its_light(self, dtype, stack):
        light = 2.0**-18 if dtype == torch.float32 else 2.0**-40
        _, grads = stack(2, [1 - light, 0.5], composite="softor", dtype=dtype)
        assert grads["intensity"] == [0.5, light]

    def test_over_an_opaque_segment_hides_what_is_below(self, dtype, stack):
        value, grads = stack(
            2, [1.0, 1.0], [[0.25], [0.75]], [0.125], composite="over", dtype=dtype
        )
        assert value == [0.75]
        # The top would uncover the first segment, color 0.25; the first and the ground are hidden.
        assert grads == {
            "intensity": [0.0, 0.5],
            "color": [[0.0], [1.0]],
            "background": [0.0],
        }

    def test_over_a_segment_of_no_opacity_changes_nothing_and_has_a_gradient(self, dtype, stack):
        value, grads = stack(2, [0.5, 0.0], [[0.5], [1.0]], [0.25], dtype=dtype)
        assert value == [0.375]
        assert grads == {
            "intensity": [0.25, 0.625],
            "color": [[0.5], [0.0]],
            "background": [0.5],
        }


def test_over_paints_in_drawing_order(stack):
    value, _ = stack(2, [1.0, 0.5], [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    assert value == [0.5, 0.5]
    value, _ = stack(2, [0.5, 1.0], [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    assert value == [0.0, 1.0]


def test_max_shows_the_color_of_the_strongest_segment_and_of_the_first_among_equals(stack):
    value, grads = stack(3, [0.5, 0.75, 0.75], [[1.0], [0.5], [0.25]], composite="max")
    assert value == [0.375]
    assert grads == {"intensity": [0.0, 0.5, 0.0], "color": [[0.0], [0.75], [0.0]]}


def test_sum_adds_colors_and_may_exceed_one(stack):
    value, grads = stack(2, [1.0, 0.5], [[1.0], [0.5]], composite="sum")
    assert value == [1.25]
    assert grads == {"intensity": [1.0, 0.5], "color": [[1.0], [0.5]]}


def test_over_without_color_or_background_is_softor(device):
    make = torch.Generator().manual_seed(0)
    segments = torch.rand(6, 4, dtype=torch.float64, generator=make).to(device)
    over, softor = (
        softraster.draw_segments(segments, 60.0, 20, composite=c, tolerance=0)
        for c in ("over", "softor")
    )
    torch.testing.assert_close(over, softor, rtol=0, atol=1e-14)


def test_over_holds_when_its_log_is_cut_into_groups(device):
    # Faint segments reach every pixel, and so a group holds 280 of them: these make four.
    count = 850
    make = torch.Generator().manual_seed(1)
    tensors = {
        "segments": torch.rand(count, 4, dtype=torch.float64, generator=make),
        "softness": torch.full((count,), 5.0, dtype=torch.float64),
        "color": torch.rand(count, 3, dtype=torch.float64, generator=make),
    }
    grads = []
    for function, place in (
        (softraster.draw_segments, device),
        (softraster.reference.draw_segments, "cpu"),
    ):
        leaves = {name: x.to(place, copy=True).requires_grad_() for name, x in tensors.items()}
        given = dict(leaves)
        canvas = function(
            given.pop("segments"), given.pop("softness"), (32, 120), composite="over", **given
        )
        grads.append(torch.autograd.grad(canvas.square().sum(), list(leaves.values())))
    for got, expected in zip(*grads, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-5 * scale)


def test_over_misses_no_row_of_a_segment_wherever_it_begins(device):
    # Hard lines between the rows of pixels, one for each pair of rows, which alone they reach.
    rows, columns = 70, 9
    y = torch.arange(1, rows, dtype=torch.float64)
    ends = torch.stack([0 * y + 1.3, y - 0.03, 0 * y + 7.6, y + 0.02], -1) / rows
    make = torch.Generator().manual_seed(3)
    weights = torch.randn(rows, columns, dtype=torch.float64, generator=make)
    softness = torch.full_like(y, 100.0 * rows)
    grads = []
    for function, place in (
        (softraster.draw_segments, device),
        (softraster.reference.draw_segments, "cpu"),
    ):
        leaves = [x.to(place, copy=True).requires_grad_() for x in (ends, softness)]
        canvas = function(*leaves, (rows, columns), composite="over", tolerance=1e-12)
        grads.append(torch.autograd.grad((canvas.cpu() * weights).sum(), leaves))
    for got, expected in zip(*grads, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-8 * scale)


def test_several_drawings_in_one_graph_add_their_gradients(device):
    make = torch.Generator().manual_seed(2)
    segments = torch.rand(3, 4, generator=make).to(device).requires_grad_()
    draws = [
        lambda s: softraster.draw_segments(s, 90.0, 16).square().sum(),
        lambda s: softraster.draw_segments(s, 40.0, 24, composite="max").sum(),
        lambda s: softraster.draw_segments(s, 60.0, 20, composite="over", **FULL).sum(),
    ]
    (together,) = torch.autograd.grad(sum(draw(segments) for draw in draws), segments)
    alone = sum(torch.autograd.grad(draw(segments), segments)[0] for draw in draws)
    torch.testing.assert_close(together, alone)


def test_a_width_below_a_pixel_fades_the_line_and_keeps_its_gradient(device):
    segments = torch.tensor([[0.1, 0.5, 0.9, 0.5]], dtype=torch.float64, device=device)
    inks = []
    for width in (0.0, 0.01, 0.02, 0.04):
        width = torch.tensor([width], dtype=torch.float64, device=device, requires_grad=True)
        ink = softraster.draw_segments(segments, 200.0, 20, coverage="capsule", width=width).sum()
        (grad,) = torch.autograd.grad(ink, width)
        assert grad.item() > 0
        inks.append(ink.item())
    assert inks == sorted(inks) and inks[0] > 0
