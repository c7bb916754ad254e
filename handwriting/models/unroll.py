"""The writer's recurrence, three LSTM layers fed with their own last point, and its gradient.

The gradient is written out instead of left to autograd for speed: a weight's gradient becomes one
matrix product over all steps rather than one per step and a sum, and the gates are worked on in
place. `writer.py` holds the parameters and what the outputs mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def unroll(
    count: int, static: Tensor, biases: tuple[Tensor, Tensor, Tensor], weights: tuple[Tensor, ...]
) -> Tensor:
    """Run the recurrence from a zero state.

    A layer's gates are (input, forget, output, candidate), U rows each. The third layer's
    recurrent state is its projection to 3 numbers.

    Args:
        count: steps T, at least 1.
        static: (B, 4U), what the first layer adds to its gates at every step.
        biases: of the second and third layer (4U,), and of the output (3,), which is not part of
            the third layer's recurrent state.
        weights: input and recurrent weights of the layers in turn, (4U, 3), (4U, U), (4U, U),
            (4U, U), (4U, U), (4U, 3), and the projection (3, U).

    Returns:
        (B, T, 3): logit of x, logit of y, logarithm of the softness. The first layer's input is
        the last point as (x, y, log softness), zeros at first. Double backward raises.
    """
    return _Unroll.apply(count, static, *biases, *weights).transpose(0, 1)


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, count, static, bias1, bias2, output_bias, *weights):
        batch, units = static.shape[0], weights[1].shape[1]
        in_weights, rec_weights, projection = weights[0:6:2], weights[1:6:2], weights[6]
        gates = [static.new_empty(count, batch, 4 * units) for _ in range(3)]
        # Row 0 is the state before the first step, so row t is what step t starts from.
        cells, hiddens = (
            [static.new_zeros(count + 1, batch, units) for _ in range(3)] for _ in "ch"
        )
        points, projected = (static.new_zeros(count + 1, batch, 3) for _ in "pr")
        outputs = static.new_empty(count, batch, 3)
        layer_inputs = (points[:-1], hiddens[0][1:], hiddens[1][1:])
        layer_states = (hiddens[0][:-1], hiddens[1][:-1], projected[:-1])
        for step in range(count):
            for layer, bias in enumerate((static, bias1, bias2)):
                gate = gates[layer][step]
                torch.addmm(bias, layer_inputs[layer][step], in_weights[layer].t(), out=gate)
                gate.addmm_(layer_states[layer][step], rec_weights[layer].t())
                _cell_forward(
                    gate, cells[layer][step], cells[layer][step + 1], hiddens[layer][step + 1]
                )
            torch.mm(hiddens[2][step + 1], projection.t(), out=projected[step + 1])
            torch.add(projected[step + 1], output_bias, out=outputs[step])
            points[step + 1].copy_(outputs[step])
            points[step + 1, :, :2].sigmoid_()
        ctx.save_for_backward(*weights, *gates, *cells, *hiddens, points, projected)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_outputs):
        saved = ctx.saved_tensors
        weights, gates, cells, hiddens = saved[:7], saved[7:10], saved[10:13], saved[13:16]
        points, projected = saved[16:]
        in_weights, rec_weights, projection = weights[0:6:2], weights[1:6:2], weights[6]
        grad_gates = [torch.empty_like(gate) for gate in gates]
        grad_cells = [torch.zeros_like(cell[0]) for cell in cells]
        grad_outputs = grad_outputs.clone()
        grad_projected = torch.empty_like(grad_outputs)
        grad_states = [torch.zeros_like(hiddens[0][0]), torch.zeros_like(hiddens[1][0])]
        grad_states.append(torch.zeros_like(grad_outputs[0]))
        grad_point = torch.zeros_like(grad_outputs[0])
        for step in range(len(grad_outputs) - 1, -1, -1):
            position = points[step + 1, :, :2]
            grad_point[:, :2] *= position * (1 - position)
            grad_outputs[step] += grad_point
            torch.add(grad_outputs[step], grad_states[2], out=grad_projected[step])
            grad_hidden = grad_projected[step] @ projection
            for layer in (2, 1, 0):
                grad_gate = grad_gates[layer][step]
                _cell_backward(
                    gates[layer][step], cells[layer][step], cells[layer][step + 1],
                    grad_hidden, grad_cells[layer], grad_gate,
                )  # fmt: skip
                grad_states[layer] = grad_gate @ rec_weights[layer]
                if layer > 0:
                    grad_hidden = grad_states[layer - 1].addmm_(grad_gate, in_weights[layer])
            grad_point = grad_gates[0][step] @ in_weights[0]
        layer_inputs = (points[:-1], hiddens[0][1:], hiddens[1][1:])
        layer_states = (hiddens[0][:-1], hiddens[1][:-1], projected[:-1])
        grad_weights = [
            _grad_weight(grad_gates[layer], entering[layer])
            for layer in range(3)
            for entering in (layer_inputs, layer_states)
        ]
        grad_weights.append(_grad_weight(grad_projected, hiddens[2][1:]))
        return (
            None,
            grad_gates[0].sum(0),
            grad_gates[1].sum((0, 1)),
            grad_gates[2].sum((0, 1)),
            grad_outputs.sum((0, 1)),
            *grad_weights,
        )


def _cell_forward(gate: Tensor, cell: Tensor, next_cell: Tensor, next_hidden: Tensor) -> None:
    """Turn the sums in `gate` (B, 4U) into gates in place and write the next state."""
    units = cell.shape[-1]
    gate[:, : 3 * units].sigmoid_()
    gate[:, 3 * units :].tanh_()
    in_gate, forget_gate, out_gate, candidate = gate.chunk(4, dim=1)
    torch.mul(forget_gate, cell, out=next_cell).addcmul_(in_gate, candidate)
    torch.tanh(next_cell, out=next_hidden).mul_(out_gate)


def _cell_backward(
    gate: Tensor, cell: Tensor, next_cell: Tensor,
    grad_hidden: Tensor, grad_cell: Tensor, grad_gate: Tensor,
) -> None:  # fmt: skip
    """Write the gradient of the sums to `grad_gate`; step `grad_cell` back in place."""
    units = cell.shape[-1]
    in_gate, forget_gate, out_gate, candidate = gate.chunk(4, dim=1)
    grad_in, grad_forget, grad_out, grad_candidate = grad_gate.chunk(4, dim=1)
    squashed = next_cell.tanh()
    torch.mul(grad_hidden, squashed, out=grad_out)
    grad_cell += torch.ops.aten.tanh_backward(grad_hidden * out_gate, squashed)
    torch.mul(grad_cell, candidate, out=grad_in)
    torch.mul(grad_cell, cell, out=grad_forget)
    torch.mul(grad_cell, in_gate, out=grad_candidate)
    grad_cell *= forget_gate
    sigmoids, grad_sigmoids = gate[:, : 3 * units], grad_gate[:, : 3 * units]
    grad_sigmoids.copy_(torch.ops.aten.sigmoid_backward(grad_sigmoids, sigmoids))
    grad_candidate.copy_(torch.ops.aten.tanh_backward(grad_candidate, candidate))


def _grad_weight(grad_sums: Tensor, entering: Tensor) -> Tensor:
    """(T, B, M), (T, B, N) -> (M, N), summed over all steps and digits in one product."""
    return grad_sums.flatten(0, 1).t() @ entering.flatten(0, 1)
