"""softraster: a differentiable soft line rasterizer for PyTorch."""

from softraster import reference
from softraster.api import draw_segments, draw_strokes
from softraster.curves import (
    catmull_rom,
    catmull_rom_bezier,
    cubic_bezier,
    draw_curves,
    draw_polyline,
    polyline,
    quadratic_bezier,
    to_cubic,
)
from softraster.svg import Drawing, read_svg, to_svg, write_svg

__version__ = "0.1.0"

__all__ = [
    "Drawing",
    "catmull_rom",
    "catmull_rom_bezier",
    "cubic_bezier",
    "draw_curves",
    "draw_polyline",
    "draw_segments",
    "draw_strokes",
    "polyline",
    "quadratic_bezier",
    "read_svg",
    "reference",
    "to_cubic",
    "to_svg",
    "write_svg",
]
