"""Bad arguments raise what names them, the rule and what was given."""

import pytest
import torch

import softraster


def draw(segments, softness, intensity=None, **options):
    return softraster.draw_segments(segments, softness, (12, 16), intensity=intensity, **options)


S = torch.zeros(3, 4)
BAD_ARGUMENTS = {
    "segments is a list": (lambda: draw([[0, 0, 1, 1]], 1.0), TypeError, "segments .* got list"),
    "segments of ints": (lambda: draw(S.long(), 1.0), TypeError, "segments .* got torch.int64"),
    "segments of shape (3, 5)": (
        lambda: draw(torch.zeros(3, 5), 1.0),
        ValueError,
        r"segments .* got \(3, 5\)",
    ),
    "segments of shape (4,)": (lambda: draw(S[0], 1.0), ValueError, r"segments .* got \(4,\)"),
    "softness missing": (lambda: draw(S, None), TypeError, "softness .* got NoneType"),
    "softness negative": (lambda: draw(S, -1.0), ValueError, "softness .* got -1.0"),
    "softness NaN": (lambda: draw(S, float("nan")), ValueError, "softness .* got nan"),
    "softness infinite": (lambda: draw(S, float("inf")), ValueError, "softness .* got inf"),
    "softness of another dtype": (
        lambda: draw(S, torch.ones(3).double()),
        TypeError,
        "softness .* got torch.float64",
    ),
    "softness of another shape": (
        lambda: draw(S, torch.ones(2)),
        ValueError,
        r"softness .* N = 3 .* got \(2,\)",
    ),
    "one segment, many softnesses": (
        lambda: draw(S[:1], torch.ones(2)),
        ValueError,
        r"softness .* N = 1 .* got \(2,\)",
    ),
    "softness on another device": (
        lambda: draw(S, torch.ones(3, device="meta")),
        ValueError,
        "softness .* got meta",
    ),
    "intensity above 1": (lambda: draw(S, 1.0, 1.5), ValueError, "intensity .* got 1.5"),
    "intensity of another shape": (
        lambda: draw(S, 1.0, torch.ones(4)),
        ValueError,
        r"intensity .* got \(4,\)",
    ),
    "intensity a string": (lambda: draw(S, 1.0, "dark"), TypeError, "intensity .* got str"),
    "width without capsules": (
        lambda: draw(S, 1.0, width=0.1),
        ValueError,
        "width .* got coverage='grid'",
    ),
    "capsules without width": (
        lambda: draw(S, 1.0, coverage="capsule"),
        ValueError,
        "width .* got None",
    ),
    "width negative": (
        lambda: draw(S, 1.0, coverage="capsule", width=-0.1),
        ValueError,
        "width .* got -0.1",
    ),
    "unknown coverage": (
        lambda: draw(S, 1.0, coverage="disc"),
        ValueError,
        "coverage .* got 'disc'",
    ),
    "color a list": (lambda: draw(S, 1.0, color=[1, 0, 0]), TypeError, "color .* got list"),
    "color without dimensions": (
        lambda: draw(S, 1.0, color=torch.tensor(1.0)),
        ValueError,
        r"color .* got \(\)",
    ),
    "color without channels": (
        lambda: draw(S, 1.0, color=torch.ones(3, 0)),
        ValueError,
        r"color .* got \(3, 0\)",
    ),
    "color of other segments": (
        lambda: draw(S, 1.0, color=torch.ones(2, 3)),
        ValueError,
        r"color .* N = 3 .* got \(2, 3\)",
    ),
    "background of other channels": (
        lambda: draw(S, 1.0, color=torch.ones(3, 3), background=torch.ones(2), composite="over"),
        ValueError,
        r"background .* C = 3 .* got \(2,\)",
    ),
    "background without over": (
        lambda: draw(S, 1.0, background=1.0),
        ValueError,
        "background .* got composite='sum'",
    ),
    "background infinite": (
        lambda: draw(S, 1.0, background=float("inf"), composite="over"),
        ValueError,
        "background .* got inf",
    ),
    "unknown composite": (
        lambda: draw(S, 1.0, composite="mean"),
        ValueError,
        "composite .* got 'mean'",
    ),
    "tolerance 1": (lambda: draw(S, 1.0, tolerance=1), ValueError, "tolerance .* got 1"),
    "tolerance NaN": (
        lambda: draw(S, 1.0, tolerance=float("nan")),
        ValueError,
        "tolerance .* got nan",
    ),
    "tolerance None": (
        lambda: draw(S, 1.0, tolerance=None),
        TypeError,
        "tolerance .* got NoneType",
    ),
    "size 0": (lambda: softraster.draw_segments(S, 1.0, 0), ValueError, "size .* got 0"),
    "size of too many pixels": (
        lambda: softraster.draw_segments(S, 1.0, (1, 2**30 + 1)),
        ValueError,
        r"size must be at most 1073741824 .* got \(1, 1073741825\)",
    ),
    "size of floats": (
        lambda: softraster.draw_segments(S, 1.0, (2.0, 3)),
        TypeError,
        r"size .* got \(2.0, 3\)",
    ),
    "size of three": (
        lambda: softraster.draw_segments(S, 1.0, (1, 2, 3)),
        TypeError,
        r"size .* got \(1, 2, 3\)",
    ),
    "points of shape (3, 4)": (
        lambda: softraster.draw_strokes(S, 8),
        ValueError,
        r"points .* got \(3, 4\)",
    ),
    "points of shape (3,)": (
        lambda: softraster.draw_strokes(S[0, :3], 8),
        ValueError,
        r"points .* got \(3,\)",
    ),
    "points a list": (lambda: softraster.draw_strokes([], 8), TypeError, "points .* got list"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_what_names_them(name):
    call, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()
