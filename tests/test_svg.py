"""SVG: what is written comes back, files of others are read right, damage is named."""

import dataclasses
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch

from softraster.curves import catmull_rom_bezier, polyline, to_cubic
from softraster.svg import Drawing, read_svg, to_svg, write_svg

pytest.importorskip("svgelements")
NAMESPACE = "{http://www.w3.org/2000/svg}"


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_drawing(count=6, size=(60, 100)):
    return Drawing.of(
        rand(count, 4, 2) * 1.4 - 0.2,
        size,
        width=0.01 + rand(count, seed=1) / 20,
        color=rand(count, 3, seed=2),
        intensity=rand(count, seed=3),
        background=(0.2, 0.4, 1.0),
    )


def paths(text):
    return [path.attrib for path in ElementTree.fromstring(text).iter(f"{NAMESPACE}path")]


def svg(body, canvas='width="40" height="20"'):
    return f'<svg xmlns="http://www.w3.org/2000/svg" {canvas}>{body}</svg>'


def pixels(drawing):
    return (drawing.curves * max(drawing.size)).reshape(-1, 8).tolist()


def lines(*ends):
    """The cubic control points, in pixels, of straight lines."""
    return to_cubic(torch.tensor(ends, dtype=torch.float32).reshape(-1, 2, 2)).reshape(-1, 8)


@pytest.mark.parametrize("decimals", [0, 2, 3, 6])
def test_a_round_trip_is_exact_to_the_rounding(decimals):
    drawing = random_drawing()
    got = read_svg(to_svg(drawing, decimals=decimals))
    step = 10.0**-decimals + 1e-4
    assert got.size == (60, 100)
    # A cubic that is a quadratic to the rounding is written as one: a second rounding.
    assert (got.curves - drawing.curves).abs().max() * 100 <= 2 * step
    assert (got.width - drawing.width).abs().max() * 100 <= step
    assert (got.color - drawing.color).abs().max() <= 0.5 / 255 + 1e-6
    assert (got.intensity - drawing.intensity).abs().max() <= 1e-4
    assert got.background == pytest.approx((0.2, 0.4, 1.0), abs=1e-6)


def test_a_second_round_trip_changes_nothing():
    text = to_svg(random_drawing())
    assert to_svg(read_svg(text)) == text
    assert to_svg(read_svg(text, dtype=torch.float64)) == text


def test_segments_and_all_kinds_of_curves_are_written_as_what_they_are():
    kinds = {"L": rand(1, 4), "Q": rand(1, 3, 2), "C": rand(1, 4, 2)}
    for letter, curves in kinds.items():
        (path,) = paths(to_svg(Drawing.of(curves, 100)))
        assert [c for c in path["d"] if c.isalpha()] == ["M", letter]
    (path,) = paths(to_svg(Drawing.of(torch.tensor([[0.1, 0.2, 0.5, 0.25]]), (40, 20))))
    assert path == {"d": "M4 8 L20 10", "stroke": "#000000", "stroke-width": "1"}
    (path,) = paths(to_svg(Drawing.of(torch.tensor([[[0.0, 0], [0.5, 1], [1, 0]]]), 8)))
    assert path["d"] == "M0 0 Q4 8 8 0"


def test_a_polyline_is_one_path_and_a_change_of_style_begins_another():
    segments = polyline(rand(7, 2))
    assert len(paths(to_svg(Drawing.of(segments, 50)))) == 1
    intensity = torch.tensor([1, 1, 0.5, 0.5, 1, 1])
    assert len(paths(to_svg(Drawing.of(segments, 50, intensity=intensity)))) == 3
    assert len(paths(to_svg(Drawing.of(segments[[0, 2, 3, 5]], 50)))) == 3
    spline = catmull_rom_bezier(rand(5, 2), closed=True)
    assert len(paths(to_svg(Drawing.of(spline, 50)))) == 1


def test_the_text_is_deterministic_and_clean():
    drawing = Drawing.of(
        torch.tensor([[-0.00001, 0.1, 0.123456, 0.5]]), 10, width=0.05, background=(1, 1, 1)
    )
    expected = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10" viewBox="0 0 10 10">\n'
        '  <rect width="10" height="10" fill="#ffffff" />\n'
        '  <g fill="none" stroke-linecap="round" stroke-linejoin="round">\n'
        '    <path d="M0 1 L1.235 5" stroke="#000000" stroke-width="0.5" />\n'
        "  </g>\n"
        "</svg>\n"
    )
    assert to_svg(drawing) == expected
    assert "<rect" not in to_svg(dataclasses.replace(drawing, background=None))


def test_an_empty_drawing_comes_back_empty():
    for background in (None, (0.0, 0.0, 0.0)):
        drawing = Drawing.of(torch.zeros(0, 4), (3, 5), background=background)
        got = read_svg(to_svg(drawing))
        assert got.curves.shape == (0, 4, 2) and got.color.shape == (0, 3)
        assert got.size == (3, 5) and got.background == background


def test_dots_are_kept():
    drawing = Drawing.of(torch.full((1, 4), 0.5), 10)
    assert pixels(read_svg(to_svg(drawing))) == [[5.0] * 8]
    assert pixels(read_svg(svg('<path d="M5 5z" stroke="red"/>'))) == [[5.0] * 8]


def test_gradients_are_left_alone():
    segments = rand(3, 4).requires_grad_()
    assert to_svg(Drawing.of(segments, 10)) == to_svg(Drawing.of(segments.detach(), 10))


def test_every_path_command_is_read_absolute_and_relative():
    absolute = "M1 2 L5 2 H9 V6 Q9 8 7 8 T5 10 C5 11 4 12 3 12 S1 11 1 10 Z"
    relative = "m1,2l4 0h4v4q0 2-2 2t-2 2c0 1-1 2-2 2s-2-1-2-2z"
    expected = torch.cat(
        [
            lines([1, 2, 5, 2], [5, 2, 9, 2], [9, 2, 9, 6]),
            to_cubic(torch.tensor([[[9.0, 6], [9, 8], [7, 8]], [[7, 8], [5, 8], [5, 10]]])).reshape(
                -1, 8
            ),
            torch.tensor([[5.0, 10, 5, 11, 4, 12, 3, 12], [3, 12, 2, 12, 1, 11, 1, 10]]),
            lines([1, 10, 1, 2]),
        ]
    )
    for data in (absolute, relative):
        got = read_svg(svg(f'<path d="{data}" stroke="red"/>'))
        torch.testing.assert_close(torch.tensor(pixels(got)), expected)
    two = read_svg(svg('<path d="M0 0 1 1M2 2 3 3zm1 0 1 0" stroke="red"/>'))
    expected = lines([0, 0, 1, 1], [2, 2, 3, 3], [3, 3, 2, 2], [3, 2, 4, 2])
    torch.testing.assert_close(torch.tensor(pixels(two)), expected)


def test_transforms_viewbox_units_and_use_place_the_points():
    body = (
        '<defs><path id="p" d="M0 0L1 0"/></defs>'
        '<g transform="translate(2 1)" stroke="#00f"><g transform="scale(2)">'
        '<path d="M1 1L2 3" stroke-width="0.5"/></g>'
        '<line x1="0" y1="0" x2="1" y2="0" transform="rotate(90)"/>'
        '<use href="#p" x="3" y="4"/></g>'
    )
    expected = lines([4, 3, 6, 7], [2, 1, 2, 2], [5, 5, 6, 5])
    got = read_svg(svg(body))
    torch.testing.assert_close(torch.tensor(pixels(got)), expected)
    assert (got.width * 40).tolist() == pytest.approx([1, 1, 1])
    # Twice as large, the corner moved to (-10, 5); 96 pixels to the inch.
    got = read_svg(svg(body, 'width="1in" height="0.5in" viewBox="-10 5 48 24"'))
    assert got.size == (48, 96)
    moved = 2 * (expected - torch.tensor([-10.0, 5] * 4))
    torch.testing.assert_close(torch.tensor(pixels(got)), moved)
    assert (got.width * 96).tolist() == pytest.approx([2, 2, 2])
    assert read_svg(svg(body, 'viewBox="0 0 30 20"')).size == (20, 30)


def test_styles_are_inherited_and_overridden():
    got = read_svg(
        svg(
            "<style>.thick {stroke-width: 3; stroke: teal} line {stroke-opacity: .5}</style>"
            '<g stroke="red" stroke-width="2" opacity="0.5">'
            '<path d="M0 0L1 1"/>'
            '<path class="thick" d="M0 0L1 1" opacity="50%"/>'
            '<path d="M0 0L1 1" style="stroke:rgb(0,0,255);stroke-width:4px"/>'
            '<line x2="1" y2="1" stroke="hsl(120,100%,50%)"/></g>'
            '<path d="M0 0L1 1" stroke="rgba(255,255,255,0.2)"/>'
            '<g display="none"><path d="M0 0L1 1" stroke="red"/></g>'
            '<path d="M0 0L1 1" stroke="red" visibility="hidden"/>'
            '<path d="M0 0L1 1" fill="none"/><path d="" stroke="red"/>'
            '<path stroke="red"/><!-- a comment -->'
        )
    )
    teal = [0, 128 / 255, 128 / 255]
    expected = torch.tensor([[1, 0, 0], teal, [0, 0, 1], [0, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(got.color, expected)
    assert (got.width * 40).tolist() == pytest.approx([2, 3, 4, 2, 1])
    assert got.intensity.tolist() == pytest.approx([0.5, 0.25, 0.5, 0.25, 0.2])


def test_the_opacity_of_the_whole_file_counts():
    got = read_svg(svg('<path d="M0 0L1 1" stroke="red"/>', 'width="9" height="9" opacity=".5"'))
    assert got.intensity.tolist() == [0.5]


def test_basic_shapes_are_read_and_arcs_stay_on_their_circle():
    got = read_svg(
        svg('<g stroke="red"><rect x="1" y="2" width="3" height="4"/><circle r="5"/></g>')
    )
    rectangle = lines([1, 2, 4, 2], [4, 2, 4, 6], [4, 6, 1, 6], [1, 6, 1, 2])
    torch.testing.assert_close(torch.tensor(pixels(got)[:4]), rectangle)
    circle = read_svg(
        svg('<path d="M14 9A5 5 0 1 1 4 9 5 5 0 0114 9" stroke="red"/>'), dtype=torch.float64
    )
    t = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None, None]
    p = 40 * circle.curves
    points = (
        (1 - t) ** 3 * p[:, 0]
        + 3 * (1 - t) ** 2 * t * p[:, 1]
        + 3 * (1 - t) * t**2 * p[:, 2]
        + t**3 * p[:, 3]
    )
    assert ((points - 9).norm(dim=-1) - 5).abs().max() < 5 * 3e-6
    # Twelve pieces of one turn: the angle between neighbouring starts is 30 degrees.
    assert p.shape == (12, 4, 2)


def test_a_skewed_circle_is_a_skewed_circle():
    got = read_svg(svg('<circle r="2" transform="skewX(40) translate(5 5)" stroke="red"/>'))
    plain = read_svg(svg('<circle cx="5" cy="5" r="2" stroke="red"/>'))
    x, y = plain.curves.unbind(-1)
    slope = torch.tensor(40.0).deg2rad().tan()
    torch.testing.assert_close(got.curves, torch.stack([x + slope * y, y], -1))


def test_only_a_first_rectangle_over_the_whole_canvas_is_the_background():
    full = '<rect width="100%" height="100%" fill="#336699"/>'
    stroke = '<path d="M0 0L1 1" stroke="red"/>'
    assert read_svg(svg(full + stroke)).background == pytest.approx((0.2, 0.4, 0.6))
    assert read_svg(svg(full, 'viewBox="0 0 30 20"')).background == pytest.approx((0.2, 0.4, 0.6))
    assert read_svg(svg(stroke)).background is None
    for body in (stroke + full, full + full, '<rect width="39" height="20"/>', "<circle r='9'/>"):
        with pytest.raises(ValueError, match=r"<(rect|circle)> is filled and not stroked"):
            read_svg(svg(body))


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "drawing.svg"
    write_svg(path, random_drawing())
    before = path.read_text()
    assert before == to_svg(random_drawing())
    assert pixels(read_svg(path)) == pixels(read_svg(str(path))) == pixels(read_svg(before))

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_svg(path, random_drawing(count=1))
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["drawing.svg"]


def test_text_may_begin_with_a_declaration_and_files_may_have_any_encoding(tmp_path):
    body = svg('<title>Tüte</title><path d="M0 0L1 1" stroke="red"/>')
    expected = pixels(read_svg(body))
    assert pixels(read_svg(f'\n<?xml version="1.0" encoding="UTF-8"?>\n{body}')) == expected
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "iso-8859-1"):
        path = tmp_path / f"{encoding}.svg"
        name = encoding.removesuffix("-sig")
        path.write_text(f'<?xml version="1.0" encoding="{name}"?>{body}', encoding=encoding)
        assert pixels(read_svg(path)) == expected


def test_without_svgelements_writing_works_and_reading_names_the_remedy():
    script = (
        "import sys; sys.modules['svgelements'] = None\n"
        "import torch; from softraster.svg import Drawing, read_svg, to_svg\n"
        "text = to_svg(Drawing.of(torch.zeros(1, 4), 8))\n"
        "try:\n read_svg(text)\nexcept ImportError as error:\n print(error)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 'pip install "softraster[svg]"' in out.stdout, out.stderr
