"""SVG: damaged files and bad arguments raise errors that name them."""

import dataclasses
import os

import pytest
import torch

from softraster.svg import Drawing, read_svg, to_svg

pytest.importorskip("svgelements")


def svg(body, canvas='width="40" height="20"'):
    return f'<svg xmlns="http://www.w3.org/2000/svg" {canvas}>{body}</svg>'


DAMAGED = {
    "not closed": ('<svg><path d="M0 0', "line 1"),
    "not SVG": ("<html><p>hello</p></html>", "<html> and not <svg>"),
    "no size": (svg("", ""), "width and a height"),
    "one side": (svg("", 'width="9" viewBox="0 0 3 3"'), "width and a height"),
    "no height": (svg("", 'width="9" height="0"'), "1 pixel"),
    "percent of nothing": (svg("", 'width="100%" height="9"'), "1 pixel"),
    "damaged viewBox": (svg("", 'viewBox="0 0 9"'), "4 numbers .* '0 0 9'"),
    "width without number": (svg("", 'width="wide" height="9"'), "1 pixel"),
    "text": (svg("<text>hello</text>"), "<text>"),
    "image": (svg('<image href="a.png" width="9" height="9"/>'), "<image"),
    "dashes": (svg('<g stroke-dasharray="3 1"><path d="M0 0L1 1"/></g>'), "stroke-dasharray '3 1'"),
    "gradient": (svg('<path d="M0 0L1 1" stroke="url(#a)"/>'), r"url\(#a\)"),
    "no colour": (svg('<path d="M0 0L1 1" stroke="rouge"/>'), "stroke 'rouge'"),
    "no width": (svg('<path d="M0 0L1 1" stroke="red" stroke-width="x"/>'), "stroke-width 'x'"),
    "negative": (svg('<path d="M0 0L1 1" stroke="red" stroke-width="-1"/>'), "stroke-width '-1'"),
    "no opacity": (svg('<path d="M0 0L1 1" stroke="red" opacity="x"/>'), "opacity 'x'"),
    "transform": (svg('<path d="M0 0L1 1" stroke="red" transform="turn(3)"/>'), "transform"),
    "open transform": (svg('<g transform="rotate("><path d="M0 0L1 1"/></g>'), "transform"),
    "too far away": (
        svg('<path d="M0 0L1e9 1" stroke="red" transform="scale(1e308)"/>'),
        "coordinates are not all finite",
    ),
    "filled": (svg('<path id="blob" d="M0 0L1 1L1 0"/>'), '<path id="blob"> is filled'),
}
DAMAGED |= {
    f"path {data!r}": (svg(f'<path id="a" d="{data}" stroke="red"/>'), '<path id="a"> has damaged')
    for data in (
        *("L1 1", "0 0L1 1", "M", "M0", "M0 0L", "M0 0L5", "M0 0H", "M0 0V", "M0 0h x"),
        *("M0 0C1 2 3 4 5", "M0 0C1 2 3 4 5 6 7", "M0 0Q1 1", "M0 0X1 1", "M0 0L1 1 rest"),
        *("M0 0Z1", "M0 0L1e999 1", "M0 0L1..2 x", "M0 0L NaN 1"),
    )
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_cannot_be_read_is_named_together_with_its_file(name, tmp_path):
    text, message = DAMAGED[name]
    with pytest.raises(ValueError, match=f"SVG text cannot be read: .*{message}"):
        read_svg(text)
    path = tmp_path / "damaged.svg"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"damaged.svg cannot be read: .*{message}"):
        read_svg(path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "image.svg"
    for content in (b"", b"\x89PNG\r\n\x1a\n\x00\x00", os.urandom(100)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"image\.svg cannot be read"):
            read_svg(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.svg"):
        read_svg(tmp_path / "absent.svg")


D = Drawing.of(torch.zeros(2, 4), 8)
BAD_ARGUMENTS = {
    "drawing a tensor": (lambda: to_svg(D.curves), TypeError, "drawing .* got Tensor"),
    "decimals -1": (lambda: to_svg(D, decimals=-1), ValueError, "decimals .* got -1"),
    "decimals a float": (lambda: to_svg(D, decimals=1.5), TypeError, "decimals .* got float"),
    "source a number": (lambda: read_svg(3), TypeError, "source .* got int"),
    "dtype of ints": (lambda: read_svg("<svg/>", dtype=torch.int64), TypeError, "dtype .*int64"),
    "curves of shape (2, 5)": (
        lambda: Drawing.of(torch.zeros(2, 5), 8),
        ValueError,
        r"control .* got \(2, 5\)",
    ),
    "curves in a batch": (
        lambda: Drawing.of(torch.zeros(3, 2, 4, 2), 8),
        ValueError,
        r"curves .*N, 4, 2.* got \(3, 2, 4, 2\)",
    ),
    "size 0": (lambda: Drawing.of(torch.zeros(2, 4), 0), ValueError, "size .* got 0"),
    "width of three": (
        lambda: Drawing.of(torch.zeros(2, 4), 8, width=torch.ones(3)),
        ValueError,
        r"width .* \(2,\)",
    ),
    "color a name": (
        lambda: Drawing.of(torch.zeros(2, 4), 8, color="red"),
        ValueError,
        "color .* got 'red'",
    ),
    "intensity of another shape": (
        lambda: dataclasses.replace(D, intensity=torch.ones(3)),
        ValueError,
        r"intensity .* \(2,\), got \(3,\)",
    ),
    "background of two": (
        lambda: dataclasses.replace(D, background=(1, 1)),
        ValueError,
        r"background .* got \(1, 1\)",
    ),
    "NaN points": (lambda: to_svg(Drawing.of(D.curves / 0, 8)), ValueError, "curves .* got nan"),
    "negative width": (
        lambda: to_svg(Drawing.of(D.curves, 8, width=-1)),
        ValueError,
        "width .* got -8|width .* got -1",
    ),
    "color above 1": (
        lambda: to_svg(Drawing.of(D.curves, 8, color=(0, 2, 0))),
        ValueError,
        "color .* 0 to 1 .* got 2",
    ),
    "background above 1": (
        lambda: to_svg(dataclasses.replace(D, background=(0, 0, 255))),
        ValueError,
        "background .* got 255",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_raise_what_names_them(name):
    call, error, message = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()
