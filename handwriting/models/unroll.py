"""The recurrence of the models: three LSTM layers fed with their own last point, and its gradient.

Any number of nets of one size run side by side, each with digits of its own, in one batched product
per layer and step. The gradient is written out instead of left to autograd for speed: a weight's
gradient becomes one matrix product over all steps rather than one per step and a sum, and the gates
are worked on in place. Under autocast the layers' products, and nothing else, are in its type.
`writer.py` and `ensemble.py` hold the parameters and say what the outputs
mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MINUS_ONE = torch.tensor(-1.0)

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def unroll(
    count: int,
    static: Tensor,
    weights: tuple[Tensor, Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    projection: Tensor,
    output_bias: Tensor,
    masks: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Run the recurrence from a zero state.

    A layer's input is one row (state, below, point): its own recurrent state, which is U numbers,
    or for the third layer the projection to 3; then the U hidden numbers of the layer below, but
    for the first layer; then the last point as (x, y, log softness), zeros at first. Weights of the
    second or third layer that have no rows for the point do without it. Gates stand in the order
    input, forget, output, candidate, U columns each.

    Args:
        count: steps T, at least 1.
        static: (E, B, 4U), what the first layer of each of E nets adds to the gates of each of its
            B digits at every step.
        weights: of the layers, (E, K, 4U) for K inputs.
        biases: of the second and third layer, (E, 4U).
        projection: (E, U, 3), from the third layer's hidden state to its recurrent state.
        output_bias: (E, 3), added to the projection in what is returned, not in what recurs.
        masks: two (T, E, B, U) that multiply what the second and third layer get from the layer
            below; None: nothing is masked.

    Returns:
        (E, B, T, 3): logit of x, logit of y, logarithm of the softness. Differentiable with respect
        to all but the masks; double backward raises.
    """
    kind = static.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    parameters = static.to(output_bias.dtype), *weights, *biases, projection, output_bias
    with torch.autocast(kind, enabled=False) if low else nullcontext():
        outputs = _Unroll.apply(count, masks, low, *parameters)
    return outputs.transpose(1, 2)


class _Unroll(torch.autograd.Function):
    """Tensors over all steps are (E, T, B, ...), gates (4, E, T, B, U).

    Operands of matrix products lie so in memory: a net's steps and digits are the rows of one
    matrix. The others lie step by step: elementwise work is twice as fast on contiguous numbers.
    Views by step are made beforehand, all at once; one by one they take as long as the work.
    Of a type `low`, None for that of all others, are the operands of the layers' products.
    """

    @staticmethod
    def forward(ctx, count, masks, low, static, *parameters):
        weights, (bias1, bias2, projection, output_bias) = parameters[:3], parameters[3:]
        nets, batch, _ = static.shape
        units = projection.shape[1]
        if low is not None:
            weights = [weight.to(low) for weight in weights]
        # Step t reads row t and writes row t + 1; row 0 is the zero state.
        inputs = [
            static.new_zeros(nets, count + 1, batch, weight.shape[1], dtype=low)
            for weight in weights
        ]
        cells, squashed = (
            [static.new_zeros(steps, nets, batch, units).transpose(0, 1) for _ in weights]
            for steps in (count + 1, count)
        )
        gates = [static.new_empty(4, count, nets, batch, units).transpose(1, 2) for _ in weights]
        top = static.new_empty(nets, count, batch, units)
        outputs = static.new_empty(nets, count, batch, 3)
        read, written = [x[:, :-1] for x in inputs], [x[:, 1:] for x in inputs]
        state_at, below_at, point_at = _columns(weights, units)
        states, points = _views(written, state_at), _views(written, point_at)
        layers = [
            _by_step(read[layer], gates[layer].permute(1, 2, 3, 0, 4), *gates[layer],
                     cells[layer][:, :-1], cells[layer][:, 1:], squashed[layer], hidden)
            for layer, hidden in enumerate((*states[:2], top))
        ]  # fmt: skip
        aboves = _by_step(*_views(read, below_at))
        ends = _by_step(states[2], outputs, points[0][..., :2], *points)
        added = static, bias1[:, None], bias2[:, None]
        output_bias = output_bias[:, None]
        sums = torch.empty_like(static)
        gate_sums = sums.unflatten(-1, (4, units))
        for step in range(count):
            for layer in range(3):
                entering, *row = layers[layer][step]
                if low is None:
                    torch.baddbmm(added[layer], entering, weights[layer], out=sums)
                else:
                    torch.add(added[layer], torch.bmm(entering, weights[layer]), out=sums)
                hidden = _cell_forward(gate_sums, gate_sums[..., 3, :], *row)
                if layer < 2 and masks is None:
                    aboves[step][layer].copy_(hidden)
                elif layer < 2:
                    torch.mul(hidden, masks[layer][step], out=aboves[step][layer])
            state, output, position, point, *others = ends[step]
            # Not into `state`: where the result is not contiguous, bmm goes net by net.
            projected = torch.bmm(hidden, projection)
            state.copy_(projected)
            torch.add(projected, output_bias, out=output)
            point.copy_(output)
            position.sigmoid_()
            for other in others:
                other.copy_(point)
        ctx.masks = masks
        ctx.save_for_backward(*weights, projection, *inputs, *gates, *cells, *squashed, top)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_outputs):
        saved, masks = ctx.saved_tensors, ctx.masks
        weights, projection, inputs, gates = saved[:3], saved[3], saved[4:7], saved[7:10]
        cells, squashed, top = saved[10:13], saved[13:16], saved[16]
        state_at, below_at, point_at = _columns(weights, projection.shape[1])
        grad_outputs = grad_outputs.clone()
        grad_projected = torch.empty_like(grad_outputs)
        nets, count, batch, units = top.shape
        grad_sums = [top.new_empty(nets, count, batch, 4 * units) for _ in gates]
        # Of the step after; each is used up before it is written again.
        grad_inputs = [torch.zeros_like(x[:, 0], dtype=top.dtype) for x in inputs]
        grad_cells = [top.new_zeros(nets, batch, units) for _ in cells]
        grad_states, grad_belows, grad_points = (
            _views(grad_inputs, at) for at in (state_at, below_at, point_at)
        )
        layers = [
            _by_step(grad_sums[layer], *grad_sums[layer].chunk(4, dim=-1),
                     *gates[layer], cells[layer][:, :-1], squashed[layer])
            for layer in range(3)
        ]  # fmt: skip
        spare = torch.empty_like(grad_cells[0])
        points = inputs[0][:, 1:, :, point_at[0]][..., :2]
        point_slopes = torch.ones_like(grad_outputs)
        torch.mul(points, 1 - points, out=point_slopes[..., :2])
        ends = _by_step(grad_outputs, point_slopes, grad_projected)
        back_weights = [weight.transpose(1, 2) for weight in weights]
        back_projection = projection.transpose(1, 2)
        for step in range(len(ends) - 1, -1, -1):
            grad_output, point_slope, grad_project = ends[step]
            for grad_point in grad_points:
                grad_output.addcmul_(grad_point, point_slope)
            torch.add(grad_output, grad_states[2], out=grad_project)
            grad_hidden = torch.bmm(grad_project, back_projection)
            for layer in (2, 1, 0):
                grad_sum, *row = layers[layer][step]
                _cell_backward(*row, grad_hidden, grad_cells[layer], spare)
                if grad_sum.dtype == back_weights[layer].dtype:
                    torch.bmm(grad_sum, back_weights[layer], out=grad_inputs[layer])
                else:
                    product = torch.bmm(grad_sum.to(back_weights[layer]), back_weights[layer])
                    grad_inputs[layer].copy_(product)
                if layer > 0:
                    grad_hidden = grad_belows[layer - 1]
                    if masks is not None:
                        grad_hidden = grad_hidden * masks[layer - 1][step]
                    grad_hidden = grad_hidden + grad_states[layer - 1]
        return (
            None,
            None,
            None,
            grad_sums[0].sum(1),
            *(_grad_weight(x[:, :-1], grad) for x, grad in zip(inputs, grad_sums, strict=True)),
            *(grad.sum((1, 2)) for grad in grad_sums[1:]),
            _grad_weight(top, grad_projected),
            grad_outputs.sum((1, 2)),
        )


def _columns(weights: Sequence[Tensor], units: int) -> list[tuple[slice | None, ...]]:
    """Columns of each layer's input that are its state, the layer below, and the point."""
    columns = []
    for layer, weight in enumerate(weights):
        state = units if layer < 2 else 3
        below = state + units if layer > 0 else state
        columns.append((
            slice(state),
            slice(state, below) if layer > 0 else None,
            slice(below, below + 3) if weight.shape[1] > below else None,
        ))  # fmt: skip
    return list(zip(*columns, strict=True))


def _views(tensors: Sequence[Tensor], columns: Sequence[slice | None]) -> list[Tensor]:
    """The columns of each tensor that has them."""
    return [x[..., at] for x, at in zip(tensors, columns, strict=True) if at is not None]


def _by_step(*tensors: Tensor) -> list[tuple[Any, ...]]:
    """What each of the (E, T, ...) tensors has for step t, as entry t."""
    return list(zip(*(tensor.unbind(1) for tensor in tensors), strict=True))


def _cell_forward(
    sums: Tensor, candidate_sums: Tensor, gates: Tensor, in_gate: Tensor, forget_gate: Tensor,
    out_gate: Tensor, candidate: Tensor, cell: Tensor, next_cell: Tensor, squashed: Tensor,
    hidden: Tensor,
) -> Tensor:  # fmt: skip
    """Fill `gates` from `sums`, both (E, B, 4, U); write the next state, return `hidden`.

    What `sums` holds is used up.
    """
    if sums.is_cuda:
        torch.sigmoid(sums, out=gates)
        torch.tanh(candidate_sums, out=candidate)
    else:
        candidate_sums += candidate_sums  # as in `_tanh`, but in one sigmoid with the gates
        torch.sigmoid(sums, out=gates)
        torch.add(_MINUS_ONE, candidate, alpha=2, out=candidate)
    torch.mul(forget_gate, cell, out=next_cell).addcmul_(in_gate, candidate)
    return torch.mul(out_gate, _tanh(next_cell, out=squashed), out=hidden)


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    if x.is_cuda:
        return torch.tanh(x, out=out)
    # 2 sigmoid(2 x) - 1; torch's own takes twice as long on the CPU.
    torch.add(x, x, out=out).sigmoid_()
    return torch.add(_MINUS_ONE, out, alpha=2, out=out)


def _cell_backward(
    grad_in: Tensor, grad_forget: Tensor, grad_out: Tensor, grad_candidate: Tensor,
    in_gate: Tensor, forget_gate: Tensor, out_gate: Tensor, candidate: Tensor,
    cell: Tensor, squashed: Tensor, grad_hidden: Tensor, grad_cell: Tensor, spare: Tensor,
) -> None:  # fmt: skip
    """Write the gradients of the gates' sums; step `grad_cell` back in place."""
    torch.mul(grad_hidden, squashed, out=spare)
    _sigmoid_backward(spare, out_gate, grad_input=grad_out)
    torch.mul(grad_hidden, out_gate, out=spare)
    grad_cell += _tanh_backward(spare, squashed, grad_input=spare)
    torch.mul(grad_cell, candidate, out=spare)
    _sigmoid_backward(spare, in_gate, grad_input=grad_in)
    torch.mul(grad_cell, cell, out=spare)
    _sigmoid_backward(spare, forget_gate, grad_input=grad_forget)
    torch.mul(grad_cell, in_gate, out=spare)
    _tanh_backward(spare, candidate, grad_input=grad_candidate)
    grad_cell *= forget_gate


def _grad_weight(entering: Tensor, grad_sums: Tensor) -> Tensor:
    """(E, T, B, K), (E, T, B, N) -> (E, K, N), summed over all steps and digits in one product."""
    left, right = entering.flatten(1, 2).transpose(1, 2), grad_sums.flatten(1, 2)
    return torch.bmm(left, right.to(left.dtype)).to(right.dtype)
