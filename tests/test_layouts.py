"""Shapes that broadcast, dtypes and layouts of all kinds: the op gives what plain tensors give."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import Tensor

import softraster

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@st.composite
def scenes(draw):
    """Tensors that broadcast, in one dtype and in layouts of all kinds; and the batch's shape."""
    shapes = draw(mutually_broadcastable_shapes(num_shapes=4, max_dims=3, max_side=3, min_side=0))
    count, channels = draw(st.integers(0, 5)), draw(st.integers(1, 4))
    dtype, capsule = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    tails = [(count, 4), (draw(st.sampled_from([1, count])),), (count,), (count, channels)]
    make = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    tensors = []
    for shape, tail, largest in zip(shapes.input_shapes, tails, (1, 60, 0.3, 1), strict=True):
        x = (largest * torch.rand(*shape, *tail, generator=make)).to(dtype)
        order = draw(st.permutations(range(x.dim())))
        inverse = [order.index(dim) for dim in range(x.dim())]
        x = x.permute(order).contiguous().permute(inverse)
        if draw(st.booleans()):  # with numbers between that are not its own
            x = torch.stack([x, torch.full_like(x, torch.nan)], -1)[..., 0]
        tensors.append(x.requires_grad_(draw(st.booleans())))
    segments, softness, per_segment, color = tensors
    options = {"coverage": "capsule" if capsule else "grid"}
    options["width" if capsule else "intensity"] = per_segment
    if draw(st.booleans()):
        options["color"] = color
    options["composite"] = draw(st.sampled_from(["sum", "max", "softor", "over"]))
    size = draw(st.one_of(st.integers(1, 20), st.tuples(st.integers(1, 20), st.integers(1, 20))))
    return {"segments": segments, "softness": softness, "size": size, **options}


def expanded(x, shape):
    return x.detach().expand(shape).contiguous()


@settings(
    max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(scenes())
def test_shapes_dtypes_and_layouts_give_the_bits_of_plain_tensors(scene):
    canvas = softraster.draw_segments(**scene)
    tensors = {name: x for name, x in scene.items() if isinstance(x, Tensor)}
    dtype, count = tensors["segments"].dtype, tensors["segments"].shape[-2]
    computed = torch.promote_types(dtype, torch.float32)
    tails = dict.fromkeys(tensors, (count,))
    tails["segments"] = (count, 4)
    if "color" in tensors:
        tails["color"] = (count, tensors["color"].shape[-1])
    batch = torch.broadcast_shapes(
        *(x.shape[: x.dim() - len(tails[n])] for n, x in tensors.items())
    )
    plain = {n: expanded(x, batch + tails[n]).to(computed) for n, x in tensors.items()}
    expected = softraster.draw_segments(**{**scene, **plain})
    size = scene["size"] if isinstance(scene["size"], tuple) else (scene["size"],) * 2
    assert canvas.shape == (*batch, *tails.get("color", ())[1:], *size)
    assert canvas.dtype == dtype
    assert torch.equal(canvas, expected.to(dtype))
    leaves = [x for x in tensors.values() if x.requires_grad]
    assert canvas.requires_grad == bool(leaves)
    if leaves:
        grads = torch.autograd.grad(canvas.sum(), leaves)
        assert [(g.shape, g.dtype) for g in grads] == [(x.shape, x.dtype) for x in leaves]
        assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_number_is_taken_in_the_precision_that_half_types_are_computed_in(dtype):
    segments = torch.tensor([[0.2, 0.3, 0.8, 0.6]], dtype=dtype)
    options = {"coverage": "capsule", "width": 0.1003, "composite": "over", "background": 0.3001}
    # 1e5 is more than float16 holds.
    canvas = softraster.draw_segments(segments, 1e5, 16, **options)
    expected = softraster.draw_segments(segments.float(), 1e5, 16, **options)
    assert torch.equal(canvas, expected.to(dtype))
    assert canvas.max() > 0.9


def test_a_number_that_the_dtype_does_not_hold_is_refused():
    segments = torch.rand(2, 4)
    for number in (1e39, 10**400, Fraction(10**400, 3)):
        with pytest.raises(
            ValueError, match=r"softness must be 0 or more, and finite in torch.float32, got .+$"
        ):
            softraster.draw_segments(segments, number, 8)
    assert softraster.draw_segments(segments.double(), 1e39, 8).isfinite().all()
