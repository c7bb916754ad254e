"""How far the op may be from the reference, pixel by pixel and segment by segment.

Derived, not fitted: from how well geometry is known in the op's precision, from the roundings on
the way, and from what the tolerance leaves out. The reference itself is computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softraster._arguments import Scene
from softraster.reference import DOT_LENGTH, capsule_coverage, grid_coverage

ROUNDINGS = 8  # of a coverage and of each length in it
SUM_ROUNDINGS = 64  # of a gradient: so many pixels are added in the op's precision
# A soft edge is at most this unsure, in its own logarithm, for its slope to be known at all.
UNSURE = 0.05
# Of the fixed point (fixed_point.h), relative to the largest gradient of the canvas.
UNIT, TERM = 2.0**-56, 2.0**37
# Exponents stop at -43 and -350 (fast_exp.h): that far and farther, what is left is below this.
FLOOR = {torch.float32: 1e-15, torch.float64: 1e-145}


class Bounds:
    """What can be said of a scene's canvas and gradients.

    Attributes, for the broadcast batch (...):
        valid: (...), the canvas is not to be NaN.
        tame: (...), valid, with colours, background and intensities from 0 to 1: then an error in
            a coverage makes none in the canvas that is larger.
        broken: (..., N), segments whose gradient is to be NaN.
        canvas: (..., C, rows, columns), how far the canvas may be off.
    """

    def __init__(self, scene: Scene, grad_canvas: Tensor, dtype: torch.dtype, cuda: bool = False):
        """Take a scene and how it is drawn.

        Args:
            scene: in float64.
            grad_canvas: the gradient of its canvas.
            dtype: the op's precision.
            cuda: whether the op's kernels are CUDA's, which under "over" add in fixed point.
        """
        self.side, self.cuda = max(scene.rows, scene.columns), cuda
        self.scene, self.dtype, self.eps = scene, dtype, torch.finfo(dtype).eps
        k, width, c, color, background = scene[1:6]
        self.c = torch.ones_like(k) if c is None else c
        self.color = torch.ones_like(k)[..., None] if color is None else color
        # Paint replaces what is below it, so that even black has an effect of up to 1.
        self.effect = torch.ones_like(self.color) if scene.composite == "over" else self.color
        self.grad = (grad_canvas.unsqueeze(-3) if color is None else grad_canvas).abs()
        self.broken = ~(scene.segments.isfinite().all(-1) & k.isfinite() & (k >= 0))
        if width is not None:
            self.broken |= ~(width.isfinite() & (width >= 0))
        self.valid = ~(self.broken | ~self.c.isfinite()).any(-1)
        self.tame = self.valid & _from_0_to_1(self.c) & _from_0_to_1(self.color.flatten(-2))
        if background is not None:
            self.tame = self.tame & _from_0_to_1(background)
        self._find_errors()
        fixed_point = cuda and scene.composite == "over"
        # In fixed point, what each group of pixels adds is rounded to UNIT.
        peak = self.grad.flatten(-3).amax(-1) if fixed_point else torch.zeros(())
        self.rounded = UNIT * (8 + scene.rows * scene.columns) * peak[..., None]
        # In pixels, a softness and what is divided by a distance may be too small for the dtype, of
        # which the CPU's kernels use the normal numbers only.
        smallest = torch.finfo(dtype).tiny * (self.eps if cuda else 1)
        pixels = scene.rows * scene.columns
        most = 1 + self.grad.flatten(-3).amax(-1)[..., None] if pixels else 1
        self.underflow = 4 * smallest * pixels * self.side**2 * most * self.scale
        self.canvas = self._canvas()

    def _find_errors(self) -> None:
        scene = self.scene
        # Points are known relative to the largest number that they are computed from.
        self.scale = 1 + scene.segments.abs().amax(-1)
        if scene.width is not None:
            self.scale = self.scale + scene.width
        self.slack = ROUNDINGS * self.eps * self.scale
        low, self.cover, high, self.distance = _coverage(scene, self.slack)
        self.left_out = self.cover.clamp(max=scene.tolerance) + FLOOR[self.dtype]
        off = torch.maximum(high - self.cover, self.cover - low)
        self.off = off + ROUNDINGS * self.eps * self.cover + self.left_out
        c = self.c[..., None, None]
        self.off_in_all = (c * self.off).sum(-3, keepdim=True)
        if scene.composite == "max" and self.cover.shape[-3]:
            # Segments that may be the strongest of a pixel, where more than one may.
            self.best = (c * (self.cover + self.off)).amax(-3, keepdim=True)
            surely = (c * (self.cover - self.off)).amax(-3, keepdim=True)
            may_win = c * (self.cover + self.off) >= surely
            self.unclear = may_win & (may_win.sum(-3, keepdim=True) > 1)

    def _canvas(self) -> Tensor:
        weight = self.c[..., None] * self.effect  # (..., N, C)
        bound = torch.einsum("...nc,...nij->...cij", weight, self.off)
        ink = torch.einsum("...nc,...nij->...cij", weight, self.cover)
        bound = bound + 2 * (1 + weight.shape[-2]) * self.eps * (1 + ink)
        if self.scene.color is not None and hasattr(self, "unclear"):
            unclear = self.unclear.any(-3, keepdim=True)
            bound = torch.where(unclear, self.best + bound, bound)
        return bound

    def _share(self) -> Tensor | float:
        """How far d canvas / d coverage may be off, as a part of the largest that it can be."""
        composite, count = self.scene.composite, self.cover.shape[-3]
        if composite == "sum" or count == 0:
            return 0.0
        if composite == "max":
            return self.unclear.double()
        rest = self.off_in_all + ROUNDINGS * count * self.eps
        if composite == "over":
            return rest
        # A factor below this counts as 0, and others are divided by (composite_math.h).
        zero = 1e-6 if self.dtype == torch.float32 else 1e-14
        strongest = self.color.amax(-1)[..., None, None]
        factor = (1 - self.c[..., None, None] * self.cover * strongest).clamp(min=zero)
        return rest + 2 * count * zero + ROUNDINGS * self.eps / factor

    def _parts(self, slopes: bool) -> Tensor:
        """(..., N, rows, columns): the error of d canvas / d coverage times the coverage or slope.

        Args:
            slopes: of the coverage's slope, in units of the coverage times softness.
        """
        relative = self._share() + SUM_ROUNDINGS * self.eps
        if not slopes:
            return relative * (self.cover + self.off) + self.off
        cover = relative * self.cover
        slack = self.slack[..., None, None]
        relative = 2 * self.scene.softness[..., None, None] * slack
        if self.distance is not None:  # the direction to the nearest point is not known better
            relative = relative + slack / (self.distance + slack)
        return cover + relative * self.cover + self.left_out

    def gradient(self, name: str, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Return how far a gradient may be off, and where it is fed by tame items only.

        Args:
            name: of the argument.
            shape: of the argument as it was given, before it was broadcast.
        """
        parts = self._parts(slopes=name not in ("color", "intensity"))
        ink = torch.einsum("...nc,...cij->...nij", self.effect, self.grad)
        k = self.scene.softness
        if name == "color":
            limit = torch.einsum("...n,...nij,...cij->...nc", self.c, parts, self.grad)
            limit = limit + (self.rounded + self.underflow)[..., None]
        elif name == "background":
            light = self.off_in_all.sum(-3) + SUM_ROUNDINGS * (1 + self.c.shape[-1]) * self.eps
            limit = (self.grad * light.unsqueeze(-3)).sum((-2, -1)) + self.rounded
        elif name == "intensity":
            limit = (ink * parts).sum((-2, -1)) + self.rounded + self.underflow
        else:
            weighed = self.c[..., None, None] * ink * parts
            if name == "width":
                limit = k * weighed.sum((-2, -1))
                limit = limit + self.side * self._shortened(1 + k / self.side) + self.underflow
            elif name == "softness":
                # d log coverage / d softness is a distance; off the line, log coverage says which.
                far = (1 - self.cover.clamp(min=1e-300).log()) / k[..., None, None]
                far = 3 * torch.minimum(far, self.scale[..., None, None])
                limit = (weighed * far + ink * self._other_window()[0]).sum((-2, -1))
                limit = limit + self._shortened(torch.minimum(8 * self.side / k, self._arm()))
                limit = limit + self.underflow
            else:
                limit = self._ends(weighed, self.c[..., None, None] * ink * self.cover)
        unsure = k * self.slack > UNSURE
        # CUDA's passes divide by a factor that they have not multiplied by, to the last bit.
        divided = self.cuda and self.scene.composite == "softor"
        if name in ("softness", "width") or (name == "intensity" and divided):
            limit = limit.masked_fill(unsure, torch.inf)
        if name == "color" and divided:
            limit = limit.masked_fill(unsure[..., None], torch.inf)
        if name == "segments":
            limit = limit[..., None].expand(self.scene.segments.shape)
        return self._as_given(name, limit, shape)

    def _arm(self) -> Tensor:
        """(..., N): from a segment to its pixels, in pixels."""
        return 2 * self.scale * self.side + self.scene.rows + self.scene.columns

    def _shortened(self, largest: Tensor) -> Tensor:
        """In fixed point, how far sums are off whose terms, large ones, are shortened to fit."""
        return self.rounded * (largest / TERM).clamp(min=1)

    def _other_window(self) -> tuple[Tensor | float, Tensor | float]:
        """What following the other window adds, a pixel, where the two are equal.

        Off the axes it is the reference that may follow the window of where the line crosses a row
        or column of pixels that it hardly meets, as far away as numbers reach: the op never does.
        Of a dot's two windows either may follow the other than the reference in float64.

        Returns:
            For the gradient to softness, and to an end: (..., N, rows, columns) each.
        """
        scene = self.scene
        if scene.coverage == "capsule":
            return 0.0, 0.0
        h, k = 1 / self.side, scene.softness[..., None, None]
        x1, y1, x2, y2 = scene.segments[..., None, None].unbind(-3)
        x = (torch.arange(scene.columns).double() + 0.5) * h - (x1 + x2) / 2
        y = (torch.arange(scene.rows).double() + 0.5)[:, None] * h - (y1 + y2) / 2
        dx, dy = x2 - x1, y2 - y1
        flat, long = dx.abs() >= dy.abs(), torch.maximum(dx.abs(), dy.abs())
        dot = long < DOT_LENGTH * h
        short = torch.minimum(dx.abs(), dy.abs()).clamp(min=1e-18)
        slope = torch.where(dot, 1, long / short)
        along, across = torch.where(flat, x, y), torch.where(flat, y, x)
        reach = across * slope * torch.where((dx < 0) == (dy < 0), 1, -1)
        far_off = torch.where(dot, across, reach - along).abs()
        near_off = torch.where(dot, along.abs(), far_off / slope)

        def window(offset: Tensor) -> Tensor:
            return torch.sigmoid(k * (h / 2 + offset)) * torch.sigmoid(k * (h / 2 - offset))

        near, far = window(near_off), window(far_off)
        same = torch.where(dot, 64 * self.eps + k * self.slack[..., None, None], 1e-14)
        alike = (near - far).abs() <= same * near
        # A window that is within 1e-14 of its peak has a slope below 2e-7 of softness.
        off = torch.maximum(near_off, far_off)
        slant = torch.minimum(k * off, torch.where(dot, 1.0, 2e-7)) + 1e-15
        turning = torch.where(dot, 1, slope * (1 + across.abs() / short))
        softness, end = off * slant, k * turning * slant
        return torch.where(alike, softness, 0), torch.where(alike, end, 0)

    def _ends(self, weighed: Tensor, ink: Tensor) -> Tensor:
        """The two ends move a pixel's coverage directly, and by turning the segment."""
        scene, k = self.scene, self.scene.softness
        x1, y1, x2, y2 = scene.segments.unbind(-1)
        length = torch.maximum((x2 - x1).abs(), (y2 - y1).abs())
        h = 1 / self.side
        turns = length >= DOT_LENGTH * h
        inverse = torch.where(turns, 1 / length, 0)[..., None, None]
        slack = self.slack[..., None, None]
        if scene.coverage == "grid":
            x = (torch.arange(scene.columns).double() + 0.5) * h
            y = (torch.arange(scene.rows).double() + 0.5)[:, None] * h
            mid_x, mid_y = ((x1 + x2) / 2)[..., None, None], ((y1 + y2) / 2)[..., None, None]
            arm = torch.maximum((x - mid_x).abs(), (y - mid_y).abs())
            turning, unsure = arm * inverse, slack * inverse
        else:
            turning, unsure = 1, (slack * inverse).clamp(max=2)
        limit = 4 * k * (weighed * (1 + turning) + ink * unsure).sum((-2, -1))
        limit = limit + (ink * self._other_window()[1]).sum((-2, -1))
        steep = 1 + k / self.side
        limit = limit + 4 * self.side * self._shortened(steep) + self.underflow
        limit = limit + inverse[..., 0, 0] * self._shortened(steep * self._arm())
        limit = limit.masked_fill(k * self.slack > UNSURE, torch.inf)
        if scene.coverage == "grid":
            # At 45 degrees op and reference may take different sides (math.md).
            apart = ((x2 - x1).abs() - (y2 - y1).abs()).abs()
            diagonal = apart <= length * (1e-6 + 1e-14 * k * self.scale)
            limit = limit.masked_fill(diagonal & turns, torch.inf)
        return limit

    def _as_given(self, name: str, limit: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Sum over what was broadcast; tame is what no other item feeds."""
        tame = self.tame.reshape(*self.tame.shape, *(1 for _ in limit.shape[self.tame.dim() :]))
        wild = (~tame).double().expand(limit.shape)
        if name == "background" and (self.scene.color is None or not shape):
            limit, wild = limit.sum(-1), wild.sum(-1)
        summed = [x.sum_to_size(shape) if shape else x.sum() for x in (limit, wild)]
        return summed[0] + torch.finfo(self.dtype).tiny, summed[1] == 0


def _from_0_to_1(x: Tensor) -> Tensor:
    return ((x >= 0) & (x <= 1)).all(-1)


def _coverage(scene: Scene, slack: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return the least and the most that a coverage can be, the reference's between the two.

    The last is the distance to the segment, for capsules.
    """
    segments, k, width = scene[:3]
    size = (scene.rows, scene.columns)
    if scene.coverage == "capsule":
        cover = capsule_coverage(segments, k, width, *size)
        low, high = (capsule_coverage(segments, k, width + 4 * s * slack, *size) for s in (-1, 1))
        # With softness 1 and no width, what the logistic function is of is the distance.
        share = capsule_coverage(segments, torch.ones_like(k), torch.zeros_like(k), *size)
        return low, cover, high, ((1 - share) / share).log().clamp(min=0)
    # docs/math.md (M3), with each edge moved out or in.
    h = 1 / max(size)
    x1, y1, x2, y2 = segments[..., None, None].unbind(-3)
    k, slack = k[..., None, None], slack[..., None, None]
    x = (torch.arange(size[1]).double() + 0.5) * h - (x1 + x2) / 2
    y = (torch.arange(size[0]).double() + 0.5)[:, None] * h - (y1 + y2) / 2
    dx, dy = x2 - x1, y2 - y1
    long, short = torch.maximum(dx.abs(), dy.abs()), torch.minimum(dx.abs(), dy.abs())
    dot = long < DOT_LENGTH * h
    dx, dy = torch.where(dot, 0, dx), torch.where(dot, 0, dy)
    slope = torch.where(dot, 0, torch.sign(dx) * torch.sign(dy) * short / long)
    across = torch.where(dx.abs() >= dy.abs(), slope * x - y, slope * y - x)

    def box(offset: Tensor, half: Tensor | float, moved: Tensor) -> Tensor:
        near, far = half - offset.abs() + moved, half + offset.abs() + moved
        return torch.sigmoid(k * near) * torch.sigmoid(k * far)

    def product(moved: Tensor) -> Tensor:
        box_x = box(x, (dx.abs() + h) / 2, moved)
        box_y = box(y, (dy.abs() + h) / 2, moved)
        window = torch.where(dot, torch.maximum(box_x, box_y), box(across, h / 2, moved))
        return window * box_x * box_y

    return (
        product(-2 * slack),
        grid_coverage(segments, k[..., 0, 0], *size),
        product(2 * slack),
        None,
    )
