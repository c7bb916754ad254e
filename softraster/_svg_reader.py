"""Reads the strokes of an SVG file, in pixels. No tensors: svg.py makes those.

svgelements parses paths, transforms, units and style sheets, and passes over what it does not
understand. Such damage, and what is no stroke, is found here and raises ValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

from svgelements import SVG, Arc, Close, Color, Length, Move, Shape

PPI = 96

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TRANSFORMS = r"(?:(?:matrix|translate|scale|rotate|skew)[XY]?\s*\([^()]*\)[\s,]*)*"
# How many numbers each command takes at a time. Arcs are left out: their flags need no separator.
_TAKES = {"M": 2, "L": 2, "T": 2, "H": 1, "V": 1, "Q": 4, "S": 4, "C": 6}
_REFUSED_TAGS = ("text", "image", "mask", "marker", "symbol", "switch", "foreignObject")
_REFUSED_STYLES = (
    *("clip-path", "mask", "filter", "stroke-dasharray"),
    *("marker", "marker-start", "marker-mid", "marker-end"),
)

Point = tuple[float, float]
Rgb = tuple[float, float, float]


@dataclass
class Strokes:
    """What was read: one entry per curve, whose 2, 3 or 4 control points are in pixels."""

    size: tuple[int, int]  # height, width
    background: Rgb | None = None
    curves: list[list[Point]] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    colors: list[Rgb] = field(default_factory=list)
    opacities: list[float] = field(default_factory=list)


def read(file: Any) -> Strokes:
    """Read a binary or text file; ValueError, or whatever svgelements lets out, if damaged."""
    tree = ElementTree.parse(file).getroot()
    if _tag(tree) != "svg":
        raise ValueError(f"its root is <{_tag(tree)}> and not <svg>")
    strokes = Strokes(_canvas(tree))
    for element in tree.iter():
        if _tag(element) == "path":
            # Without data a path is empty, which svgelements would stumble over.
            element.attrib.setdefault("d", "")
            _check_path_data(element)
    root = SVG.parse(BytesIO(ElementTree.tostring(tree)), reify=False, ppi=PPI)
    for shape, opacity in _shapes([root], 1.0):
        stroke, stroke_alpha = _paint(shape, "stroke")
        width = _stroke_width(shape)
        if stroke is None or width == 0:
            fill, fill_alpha = _paint(shape, "fill")
            if fill is None or fill_alpha == 0:
                continue
            first = not strokes.curves and strokes.background is None
            if not (first and fill_alpha * opacity == 1 and _fills_canvas(shape, strokes.size)):
                raise ValueError(f"{_label(shape)} is filled and not stroked")
            strokes.background = fill
            continue
        for control in _curves(shape):
            strokes.curves.append(
                [tuple(shape.transform.point_in_matrix_space(p)) for p in control]
            )
            strokes.widths.append(width)
            strokes.colors.append(stroke)
            strokes.opacities.append(stroke_alpha * opacity)
    return strokes


def _tag(element: ElementTree.Element) -> str:
    """Return the name without its namespace; comments have a function for a name."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _canvas(root: ElementTree.Element) -> tuple[int, int]:
    """Return (height, width) in whole pixels, and give the root a viewBox if it has none.

    Without one, svgelements takes percentages across of the height, and those down of the width.
    """
    given = [root.get("width"), root.get("height")]
    box = root.get("viewBox", "").replace(",", " ").split()
    # From one side alone, svgelements would not follow the viewBox's proportions.
    if (given[0] is None) != (given[1] is None) or not (box or all(given)):
        raise ValueError("<svg> must have a width and a height, or neither and a viewBox")
    if box and not (len(box) == 4 and all(re.fullmatch(_NUMBER, x) for x in box)):
        raise ValueError(f"<svg> must have 4 numbers as viewBox, got {root.get('viewBox')!r}")
    whole = [float(x) for x in box[2:]] or [None, None]
    sides = [
        Length(side or "100%").value(ppi=PPI, relative_length=full)
        for side, full in zip(given, whole, strict=True)
    ]
    if not all(isinstance(side, float) and 0.5 < side < math.inf for side in sides):
        raise ValueError(f"<svg> must be 1 pixel or more wide and high, got {given}")
    if not box:
        root.set("viewBox", f"0 0 {sides[0]} {sides[1]}")
    return round(sides[1]), round(sides[0])


def _shapes(group: Any, opacity: float) -> Iterator[tuple[Any, float]]:
    """Yield the shapes that show, each with the product of the opacities around it."""
    for element in group:
        own = element.values["attributes"]
        for name in _REFUSED_STYLES:
            if own.get(name, "none") not in ("none", ""):
                raise ValueError(f"{_label(element)} has {name} {own[name]!r}, which is not read")
        if own["tag"] in _REFUSED_TAGS:
            raise ValueError(f"{_label(element)} is neither a path nor a basic shape")
        if not re.fullmatch(_TRANSFORMS, element.values.get("transform", "").strip()):
            raise ValueError(f"{_label(element)} has a damaged transform")
        inner = opacity * _fraction(element, "opacity", own)
        if isinstance(element, Shape):
            if element.values.get("visibility", "visible") == "visible":
                yield element, inner
        elif isinstance(element, list):
            yield from _shapes(element, inner)


def _paint(shape: Any, kind: str) -> tuple[Rgb | None, float]:
    """Return the colour of the stroke or the fill, None for none, and its opacity."""
    text = shape.values[kind].strip()
    color = Color(text)
    if color.value is None:
        return None, 0.0
    # What it does not know, svgelements paints black.
    if color.value == 255 and not re.match(r"black$|#0|(rgb|hsl)a?\(", text, re.IGNORECASE):
        raise ValueError(f"{_label(shape)} has {kind} {text!r}, which is not a colour")
    alpha = color.alpha / 255 * _fraction(shape, f"{kind}-opacity", shape.values)
    return (color.red / 255, color.green / 255, color.blue / 255), alpha


def _stroke_width(shape: Any) -> float:
    text = str(shape.values.get("stroke-width", 1))
    if not re.match(rf"\s*{_NUMBER}", text) or shape.implicit_stroke_width < 0:
        raise ValueError(f"{_label(shape)} has stroke-width {text!r}")
    return shape.implicit_stroke_width


def _fraction(element: Any, name: str, values: dict[str, Any]) -> float:
    text = str(values.get(name, 1)).strip()
    if not re.fullmatch(rf"{_NUMBER}%?", text):
        raise ValueError(f"{_label(element)} has {name} {text!r}")
    value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    return min(max(value, 0.0), 1.0)


def _fills_canvas(shape: Any, size: tuple[int, int]) -> bool:
    if shape.values["tag"] != "rect":
        return False
    left, top, right, bottom = shape.bbox()
    # Rounding to whole pixels has moved the canvas's sides by up to half of one.
    return left < 0.5 and top < 0.5 and right > size[1] - 1 and bottom > size[0] - 1


def _curves(shape: Any) -> Iterator[list[Any]]:
    """Yield the control points of each curve, before the shape's transform."""
    drawn = False
    for segment in shape.segments(transformed=False):
        if isinstance(segment, Move):
            drawn = False
            continue
        # A path that is back at its start is closed already, unless it is nothing but this dot.
        if isinstance(segment, Close) and drawn and segment.start == segment.end:
            continue
        drawn = True
        pieces = list(segment.as_cubic_curves()) if isinstance(segment, Arc) else []
        for piece in pieces or [segment]:
            handles = [getattr(piece, n, None) for n in ("control", "control1", "control2")]
            yield [piece.start, *(p for p in handles if p is not None), piece.end]


def _check_path_data(path: ElementTree.Element) -> None:
    pieces = re.split(r"([MmZzLlHhVvCcSsQqTtAa])", path.get("d", ""))
    damaged = bool(pieces[0].strip()) or (len(pieces) > 1 and pieces[1] not in "Mm")
    for command, text in zip(pieces[1::2], pieces[2::2], strict=True):
        numbers = re.findall(_NUMBER, text)
        damaged |= bool(re.sub(_NUMBER, "", text).strip(" \t\r\n\f,"))
        damaged |= not all(math.isfinite(float(number)) for number in numbers)
        if command in "Zz":
            damaged |= bool(numbers)
        else:
            damaged |= not numbers or len(numbers) % _TAKES.get(command.upper(), 1) != 0
    if damaged:
        raise ValueError(f"{_label_of('path', path.attrib)} has damaged path data")


def _label(element: Any) -> str:
    own = element.values["attributes"]
    return _label_of(own["tag"], own)


def _label_of(tag: str, own: dict[str, str]) -> str:
    for name in ("id", "d"):
        if name in own:
            return f'<{tag} {name}="{own[name][:40]}">'
    return f"<{tag}>"
