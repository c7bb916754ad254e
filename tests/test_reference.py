"""The reference against the post's formula as a slow loop, and against values known by hand."""

import math

import pytest
import torch
from cases import NAMED, random_case

from softraster import reference


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def post_coverage(segment: list[float], k: float, height: int, width: int) -> torch.Tensor:
    """The source post's line model, pixel by pixel, with its small constants in the divisors."""
    x1, y1, x2, y2 = segment
    h = 1 / max(height, width)
    norm = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2 + 1e-7)
    ux, uy = (x2 - x1) / norm, (y2 - y1) / norm
    canvas = torch.zeros(height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            v = ((j + 0.5) * h - x1) * uy / (ux + 1e-8) + y1
            u = ((i + 0.5) * h - y1) * ux / (uy + 1e-8) + x1
            vertical = logistic(k * (v - i * h)) * logistic(k * ((i + 1) * h - v))
            horizontal = logistic(k * (u - j * h)) * logistic(k * ((j + 1) * h - u))
            rectangle = (
                logistic(k * ((j + 1) * h - min(x1, x2)))
                * logistic(k * (max(x1, x2) - j * h))
                * logistic(k * ((i + 1) * h - min(y1, y2)))
                * logistic(k * (max(y1, y2) - i * h))
            )
            canvas[i, j] = max(vertical, horizontal) * rectangle
    return canvas


# Below 1e-8 in length the post's constants, not the segment, choose the direction.
COMPARABLE = [n for n, case in NAMED.items() if case.segments.numel() and n != "shorter than a dot"]


@pytest.mark.parametrize("name", COMPARABLE)
def test_sum_is_the_posts_formula(name):
    case = NAMED[name]
    expected = sum(
        post_coverage(segment, k, *case.size) * c
        for segment, k, c in zip(
            case.segments.tolist(),
            case.softness.tolist(),
            [1.0] * len(case.segments) if case.intensity is None else case.intensity.tolist(),
            strict=True,
        )
    )
    canvas = reference.draw_segments(
        case.segments, case.softness, case.size, intensity=case.intensity
    )
    # The post's constants move a line by up to 1e-8 / min(|ux|, |uy|) of its length.
    torch.testing.assert_close(canvas, expected, rtol=0, atol=2e-4)


def test_max_takes_the_strongest_segment():
    case = random_case(3, shape=(5,), intensity=True)
    layers = [
        reference.draw_segments(s[None], k[None], case.size, intensity=c[None])
        for s, k, c in zip(case.segments, case.softness, case.intensity, strict=True)
    ]
    canvas = reference.draw_segments(
        case.segments, case.softness, case.size, intensity=case.intensity, composite="max"
    )
    torch.testing.assert_close(canvas, torch.stack(layers).amax(0), rtol=1e-14, atol=1e-16)


def test_zero_softness_is_one_sixty_fourth_everywhere():
    case = NAMED["zero softness"]
    canvas = reference.draw_segments(case.segments, case.softness, case.size)
    torch.testing.assert_close(canvas, torch.full_like(canvas, 1 / 64))


def test_the_middle_of_a_crisp_horizontal_line_has_the_window_at_its_centre():
    # On the centre of row 10 the window is s(k h / 2)^2, and so is the rectangle along y.
    k = 8 * 28
    y = 10.5 / 28
    canvas = reference.draw_segments(
        torch.tensor([[0.0, y, 1.0, y]], dtype=torch.float64), float(k), 28
    )
    assert canvas[10, 14].item() == pytest.approx(logistic(4.0) ** 4, rel=1e-12)
