"""Drawings as SVG: strokes and curves with widths, colours and opacities, written and read.

Writing needs the standard library alone. What an SVG file says is _svg_reader's, which needs the
optional svgelements.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from softraster._arguments import _check_size, _is_integer
from softraster.curves import to_cubic

Color = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Drawing:
    """Strokes on one canvas: N cubic Bezier curves and how each is inked.

    Points and widths are in units of the longer canvas side, x to the right and y down.
    `Drawing.of` makes one of segments or of other curves. A longer stroke is several curves, each
    of which starts where the one before ends.

    Attributes:
        curves: (N, 4, 2), control points x, y.
        size: canvas size in pixels, (height, width).
        width: (N,), of the ink.
        color: (N, 3), red, green, blue from 0 to 1.
        intensity: (N,), opacity from 0 to 1.
        background: red, green, blue from 0 to 1; None for a transparent canvas.

    Raises:
        ValueError: tensors whose shapes do not go together.

    Example:
        >>> d = softraster.read_svg("drawing.svg")
        >>> canvas = softraster.draw_curves(d.curves, 6 * max(d.size), d.size)
    """

    curves: Tensor
    size: tuple[int, int]
    width: Tensor
    color: Tensor
    intensity: Tensor
    background: Color | None = None

    def __post_init__(self) -> None:
        if self.curves.dim() != 3 or self.curves.shape[1:] != (4, 2):
            raise ValueError(
                f"curves must have the shape (N, 4, 2), got {tuple(self.curves.shape)}"
            )
        for name, shape in (("width", ()), ("color", (3,)), ("intensity", ())):
            value, wanted = getattr(self, name), (len(self.curves), *shape)
            if value.shape != wanted:
                raise ValueError(f"{name} must have the shape {wanted}, got {tuple(value.shape)}")
        if self.background is not None and len(self.background) != 3:
            raise ValueError(f"background must be None or 3 numbers, got {self.background!r}")

    @staticmethod
    def of(
        curves: Tensor,
        size: int | tuple[int, int],
        *,
        width: float | Tensor | None = None,
        color: Color | Tensor = (0.0, 0.0, 0.0),
        intensity: float | Tensor = 1.0,
        background: Color | None = (1.0, 1.0, 1.0),
    ) -> Drawing:
        """Make a Drawing of segments or curves.

        Args:
            curves: segments (N, 4), as polyline makes them, or control points (N, K, 2) with K = 2
                for lines, 3 for quadratic and 4 for cubic Bezier curves.
            size: canvas size in pixels: an int for a square, or (height, width).
            width: a number or (N,), in units of the longer canvas side. Default 1 pixel.
            color: red, green, blue from 0 to 1, or (N, 3). Default black.
            intensity: a number or (N,), 0 to 1.
            background: red, green, blue from 0 to 1, or None. Default white.

        Raises:
            TypeError, ValueError: an argument of the wrong type, shape or value.
        """
        height, across = _check_size(size)
        if isinstance(curves, Tensor) and curves.dim() == 2 and curves.shape[1] == 4:
            curves = curves.unflatten(1, (2, 2))
        curves = to_cubic(curves)
        count = curves.shape[:-2]
        if width is None:
            width = 1 / max(height, across)

        def fill(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
            try:
                value = torch.as_tensor(value, dtype=curves.dtype, device=curves.device)
                return value.expand(shape)
            except (RuntimeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{name} must broadcast to {tuple(shape)} for these curves, got {value!r}"
                ) from error

        return Drawing(
            curves,
            (height, across),
            fill("width", width, count),
            fill("color", color, (*count, 3)),
            fill("intensity", intensity, count),
            background,
        )


def to_svg(drawing: Drawing, *, decimals: int = 3) -> str:
    """Return a drawing as the text of an SVG file.

    The viewBox is the canvas in pixels. Curves that continue the one before in the same style
    become one `<path>`, with round caps and joins; a curve is written as L or Q where that is the
    same to the rounding. Equal drawings give equal text. Gradients are not followed.

    Args:
        drawing: what to write.
        decimals: digits kept behind the point of positions and widths in pixels, 0 to 9. Opacities
            keep 4, colours become #rrggbb.

    Raises:
        TypeError: `drawing` or `decimals` of another type.
        ValueError: `decimals` out of range; NaN or infinite points, or styles out of range.
    """
    if not isinstance(drawing, Drawing):
        raise TypeError(f"drawing must be a Drawing, got {type(drawing).__name__}")
    if not _is_integer(decimals):
        raise TypeError(f"decimals must be an int, got {type(decimals).__name__}")
    if not 0 <= decimals <= 9:
        raise ValueError(f"decimals must be from 0 to 9, got {decimals!r}")
    height, width = drawing.size
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(width),
            "height": str(height),
            "viewBox": f"0 0 {width} {height}",
        },
    )
    if drawing.background is not None:
        fill = _checked("background", torch.tensor(drawing.background), lowest=0, highest=1)
        paper = {"width": str(width), "height": str(height), "fill": _hex(fill)}
        ElementTree.SubElement(root, "rect", paper)
    group = ElementTree.SubElement(
        root, "g", {"fill": "none", "stroke-linecap": "round", "stroke-linejoin": "round"}
    )
    for path in _paths(drawing, decimals):
        ElementTree.SubElement(group, "path", path)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def write_svg(path: str | os.PathLike[str], drawing: Drawing, *, decimals: int = 3) -> None:
    """Write a drawing to an SVG file, replacing it at once and as a whole.

    Args:
        path: the file; its folder must exist.
        drawing: what to write.
        decimals: as in to_svg.

    Raises:
        TypeError, ValueError: as to_svg does.
        OSError: the file cannot be written. What was there before stays.
    """
    path = Path(path)
    text = to_svg(drawing, decimals=decimals)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_svg(source: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> Drawing:
    """Read the strokes of an SVG file.

    Paths and basic shapes are read, with transforms, groups, `use`, units, viewBox, style sheets
    and colour names. Lines and quadratic curves become the same cubic ones; an arc, those of at
    most a twelfth of a turn, which is off by 3e-6 of the radius. A subpath that is a
    point is kept as a line without length. A first rectangle that fills the canvas is the
    background. Of a stroked shape only the stroke is read, with round caps whatever the file says;
    opacities of groups are multiplied into it, colours are rounded to 8 bits, and a width under an
    uneven scale is that of the same area.

    Args:
        source: a file's name, or SVG text, which begins with "<".
        dtype: of the tensors. Default: torch.get_default_dtype().

    Returns:
        The drawing, N = 0 if there are no strokes. Its size is the file's width and height in
        pixels (96 to the inch), rounded.

    Raises:
        ImportError: svgelements is missing: `pip install "softraster[svg]"`.
        TypeError: `source` or `dtype` of another type.
        OSError: the file cannot be read.
        ValueError: a damaged file, or an element that a Drawing cannot hold: text, images, filled
            shapes without stroke, dashes, gradients, clips, masks, filters, markers.
    """
    try:
        from softraster import _svg_reader
    except ImportError as error:
        raise ImportError(
            'read_svg needs svgelements, which is not there: pip install "softraster[svg]"'
        ) from error
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be a file's name or SVG text, got {type(source).__name__}")
    dtype = dtype or torch.get_default_dtype()
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating point type, got {dtype}")
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n").startswith("<"):
        name, file = "SVG text", StringIO(source.lstrip("\ufeff \t\r\n"))
    else:
        name, file = os.fspath(source), BytesIO(Path(source).read_bytes())
    try:
        return _drawing(_svg_reader.read(file), dtype)
    # What svgelements stumbles over, it lets out as TypeError, AttributeError and others.
    except Exception as error:
        raise ValueError(f"{name} cannot be read: {error}") from error


def _hex(color: Tensor) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in color.tolist())


def _paths(drawing: Drawing, decimals: int) -> Iterator[dict[str, str]]:
    """Yield the attributes of each path: curves are joined while end, start and style agree."""

    def number(value: float, digits: int = decimals) -> str:
        text = f"{value:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text

    def point(p: list[float]) -> str:
        return f"{number(p[0])} {number(p[1])}"

    side = max(drawing.size)
    points = side * _checked("curves", drawing.curves)
    widths = side * _checked("width", drawing.width, lowest=0)
    colors = _checked("color", drawing.color, lowest=0, highest=1)
    opacities = _checked("intensity", drawing.intensity, lowest=0, highest=1)
    middle = (3 * points[:, 1:3].sum(1) - points[:, ::3].sum(1)) / 4
    is_line, is_quadratic = (
        ((to_cubic(torch.stack(control, 1)) - points).abs() <= 0.5 * 10.0**-decimals)
        .flatten(1)
        .all(1)
        .tolist()
        for control in ((points[:, 0], points[:, 3]), (points[:, 0], middle, points[:, 3]))
    )

    style, at, data = None, None, []
    for n, (start, c1, c2, end) in enumerate(points.tolist()):
        own = {"stroke": _hex(colors[n]), "stroke-width": number(widths[n].item())}
        if opacities[n] < 1:
            own["stroke-opacity"] = number(opacities[n].item(), 4)
        if own != style or point(start) != at:
            if data:
                yield {"d": " ".join(data), **style}
            style, data = own, [f"M{point(start)}"]
        at = point(end)
        if is_line[n]:
            data.append(f"L{at}")
        elif is_quadratic[n]:
            data.append(f"Q{point(middle[n].tolist())} {at}")
        else:
            data.append(f"C{point(c1)} {point(c2)} {at}")
    if data:
        yield {"d": " ".join(data), **style}


def _checked(
    name: str, x: Tensor, *, lowest: float = -math.inf, highest: float = math.inf
) -> Tensor:
    """Return x as float64 on the CPU, if all its values may be written."""
    x = x.detach().double().cpu()
    bad = x[~(x.isfinite() & (x >= lowest) & (x <= highest))]
    if bad.numel():
        bounds = f", {lowest} to {highest}" if highest < math.inf else ""
        raise ValueError(f"{name} must be finite{bounds} to be written, got {bad[0].item()}")
    return x


def _drawing(pixels: Any, dtype: torch.dtype) -> Drawing:
    """Make a Drawing of what _svg_reader read, in pixels."""
    side = max(pixels.size)
    curves = torch.empty(len(pixels.curves), 4, 2, dtype=torch.float64)
    for k in (2, 3, 4):
        index = [n for n, control in enumerate(pixels.curves) if len(control) == k]
        rows = [pixels.curves[n] for n in index]
        curves[index] = to_cubic(torch.tensor(rows, dtype=torch.float64).reshape(-1, k, 2))
    if not curves.isfinite().all():
        raise ValueError("its coordinates are not all finite")
    return Drawing(
        (curves / side).to(dtype),
        pixels.size,
        torch.tensor(pixels.widths, dtype=dtype) / side,
        torch.tensor(pixels.colors, dtype=dtype).reshape(-1, 3),
        torch.tensor(pixels.opacities, dtype=dtype),
        pixels.background,
    )
