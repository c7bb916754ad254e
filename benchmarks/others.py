"""Other people's renderers behind draw_segments' arguments: the neural line model, and packages.

The packages are imported when they are asked for. None of them is needed, and each draws lines of
its own kind, so what they draw is judged for itself: see contenders.py.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from eager import SIGMA
from torch import Tensor

from handwriting.models.line_model import LineModel
from handwriting.models.writer import IMAGE_SIZE

# Of easydiffvg's Gaussians on a curve: what its own benchmarks take.
MOST_SAMPLES = 16


@functools.cache
def _line_model(device: torch.device) -> LineModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LineModel().to(device).requires_grad_(False)


def line_model(segments: Tensor, softness: Tensor, size: tuple[int, int], **options: Any) -> Tensor:
    """The post's neural renderer, frozen, one line an image, summed.

    Its weights are untrained: they cost the same. Softness has no part in it.
    """
    flat = segments.flatten(0, 1)
    down = flat.new_zeros(len(flat), 1)
    lines = _line_model(segments.device)(torch.cat((flat[:, :2], down, flat[:, 2:], down), dim=1))
    return lines.unflatten(0, segments.shape[:2]).sum(1)


def line_model_declines(workload: Any) -> str | None:
    """Why the line model cannot draw a workload, or None."""
    if (workload.rows, workload.columns) != (IMAGE_SIZE, IMAGE_SIZE):
        return f"draws {IMAGE_SIZE} x {IMAGE_SIZE} pixels only"
    return None


def dsketch() -> Callable[..., Tensor]:
    """dsketch's squared distance transform of lines, its exp and its soft or.

    The same formula as eager.distance_field. Units are pixels, since dsketch adds an epsilon to
    squared lengths.

    Raises:
        ImportError: it is not installed.
    """
    from dsketch.raster.composite import softor
    from dsketch.raster.disttrans import line_edt2
    from dsketch.raster.raster import exp

    def draw(segments: Tensor, softness: Tensor, size: tuple[int, int], **options: Any) -> Tensor:
        side = max(size)
        centres = [torch.arange(n, device=segments.device) + 0.5 for n in size]
        grid = torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1).to(segments.dtype)
        # dsketch's points are (row, column).
        lines = (side * segments).unflatten(-1, (2, 2)).flip(-1).contiguous()
        sigma2 = (SIGMA * side / softness) ** 2
        return softor(exp(line_edt2(lines, grid), sigma2[..., None, None]), dim=1)

    return draw


def pydiffvg() -> Callable[..., Tensor]:
    """diffvg with prefiltering: each segment a path, canvas by canvas, later ones on top.

    Width as given, else a pixel. Softness has no part in it: edges are a pixel soft.

    Raises:
        ImportError: it is not installed; easydiffvg, which has its name, does not count.
    """
    importlib.import_module("diffvg")  # the compiled part, which easydiffvg does without
    import pydiffvg

    straight = torch.zeros(1, dtype=torch.int32)

    def canvas(segments: Tensor, width: Tensor, color: Tensor, size: tuple[int, int]) -> Tensor:
        shapes, groups = [], []
        for n, ends in enumerate(segments.unflatten(-1, (2, 2))):
            shapes.append(pydiffvg.Path(straight, ends.contiguous(), False, width[n]))
            groups.append(pydiffvg.ShapeGroup(torch.tensor([n]), None, stroke_color=color[n]))
        height, across = size
        scene = pydiffvg.RenderFunction.serialize_scene(
            across, height, shapes, groups, use_prefiltering=True
        )
        image = pydiffvg.RenderFunction.apply(across, height, 2, 2, 0, None, *scene)
        return image[..., :3] * image[..., 3:]

    def draw(
        segments: Tensor,
        softness: Tensor,
        size: tuple[int, int],
        *,
        width: Tensor | None = None,
        color: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        pydiffvg.set_use_gpu(segments.is_cuda)
        side = max(size)
        widths = torch.ones_like(softness) if width is None else width * side
        opaque = torch.ones_like(softness)[..., None]
        inks = opaque.expand(*softness.shape, 3) if color is None else color
        colors = torch.cat((inks, opaque), dim=-1)
        images = torch.stack(
            [canvas(*item, size) for item in zip(segments * side, widths, colors, strict=True)]
        ).movedim(-1, 1)
        return images[:, 0] if color is None else images

    return draw


def easydiffvg() -> Callable[..., Tensor]:
    """easydiffvg's Gaussian splats, tiled: each segment a straight cubic, merged by soft or.

    Width is a pixel; softness has no part in it. As many Gaussians on a segment as it has pixels on
    the mean, at least 2 and at most MOST_SAMPLES.

    Raises:
        ImportError: it is not installed.
    """
    from pydiffvg.splat_render import splat_render_cubics

    known = inspect.signature(splat_render_cubics).parameters
    fast = {"tiling": "auto", "use_checkpoint": False}
    fast = {name: value for name, value in fast.items() if name in known}
    third = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])[:, None]

    def draw(segments: Tensor, softness: Tensor, size: tuple[int, int], **options: Any) -> Tensor:
        first, second = segments[..., None, :2], segments[..., None, 2:]
        length = torch.linalg.vector_norm((second - first).detach(), dim=-1).mean() * max(size)
        cubics = 2 * (first + third.to(segments) * (second - first)) - 1
        white = splat_render_cubics(
            cubics,
            torch.full_like(softness, 0.5),
            canvas_size=size[0],
            num_samples=min(MOST_SAMPLES, max(2, math.ceil(length.item()))),
            **fast,
        )
        return 1 - white

    return draw


def easydiffvg_declines(workload: Any) -> str | None:
    """Why easydiffvg's splats cannot draw a workload, or None."""
    if workload.rows != workload.columns or workload.channels is not None:
        return "draws square canvases without colours only"
    return None


def installed(make: Callable[[], Callable[..., Tensor]]) -> Callable[..., Tensor] | None:
    """What a function of this module makes, or None where its package is not installed."""
    try:
        return make()
    except ImportError:
        return None
