"""softraster: a differentiable soft line rasterizer for PyTorch."""

from softraster import reference
from softraster.api import draw_segments, draw_strokes

__all__ = ["draw_segments", "draw_strokes", "reference"]
