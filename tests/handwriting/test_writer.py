"""The writer against torch's own LSTM layers run step by step, and that it learns."""

import pytest
import torch
from torch import nn

import softraster
from handwriting.losses import pixel_loss
from handwriting.models.writer import START_SOFTNESS, Writer, WriterConfig, dropout_masks


def make_writer(units=8, points=5, seed=0, **options):
    torch.manual_seed(seed)
    return Writer(WriterConfig(units=units, points=points, **options))


def make_digits(count=6, seed=1):
    torch.manual_seed(seed)
    return (torch.rand(count, 28, 28) < 0.05).float(), torch.randint(10, (count,))


def torch_order(tensor):
    """Gates (input, forget, output, candidate) in the order of torch, candidate before output."""
    in_gate, forget_gate, out_gate, candidate = tensor.chunk(4)
    return torch.cat((in_gate, forget_gate, candidate, out_gate))


def write_with_torch(writer, images, labels, masks=None):
    """The same strokes by functional calls of nn.LSTMCell and of nn.LSTM with a projection.

    masks: (2, P, B, U), what the second and third layer's inputs are multiplied with.
    """
    units = writer.config.units
    zeros = images.new_zeros
    in_weight0 = torch_order(torch.cat((writer.static_weight, writer.point_weight), dim=1))
    cells = [nn.LSTMCell(797, units).to(images), nn.LSTMCell(units, units).to(images)]
    top = nn.LSTM(units, units, proj_size=3).to(images)
    parameters = [
        {"weight_ih": in_weight0, "weight_hh": torch_order(writer.rec_weight0)},
        {"weight_ih": torch_order(writer.in_weight1), "weight_hh": torch_order(writer.rec_weight1)},
    ]
    for named, bias in zip(parameters, (writer.bias0, writer.bias1), strict=True):
        named.update(bias_ih=torch_order(bias), bias_hh=zeros(4 * units))
    top_parameters = {
        "weight_ih_l0": torch_order(writer.in_weight2),
        "weight_hh_l0": torch_order(writer.rec_weight2),
        "bias_ih_l0": torch_order(writer.bias2),
        "bias_hh_l0": zeros(4 * units),
        "weight_hr_l0": writer.projection,
    }
    count = len(images)
    static = torch.cat((images.flatten(1), torch.eye(10).to(images)[labels]), dim=1)
    states = [(zeros(count, units), zeros(count, units)) for _ in cells]
    top_state = zeros(1, count, 3), zeros(1, count, units)
    point = zeros(count, 3)
    points = []
    for step in range(writer.config.points):
        value = torch.cat((static, point), dim=1)
        for layer, cell in enumerate(cells):
            states[layer] = torch.func.functional_call(
                cell, parameters[layer], (value, states[layer])
            )
            value = states[layer][0]
            if masks is not None:
                value = value * masks[layer][step]
        value, top_state = torch.func.functional_call(top, top_parameters, (value[None], top_state))
        x, y, z = (value[0] + writer.output_bias).unbind(1)
        point = torch.stack((torch.sigmoid(x), torch.sigmoid(y), z), dim=1)
        points.append(torch.stack((torch.sigmoid(x), torch.sigmoid(y), torch.exp(z)), dim=1))
    return torch.stack(points, dim=1)


def test_strokes_and_gradients_equal_those_of_torchs_lstm():
    writer = make_writer().double()
    with torch.no_grad():  # livelier than at the start, so that no gate stays in its linear part
        for parameter in writer.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    images, labels = make_digits()
    images = images.double().requires_grad_()
    wanted = write_with_torch(writer, images, labels)
    strokes = writer(images, labels)
    torch.testing.assert_close(strokes, wanted)
    weights = torch.randn_like(wanted)
    inputs = [images, *writer.parameters()]
    grads = torch.autograd.grad((strokes * weights).sum(), inputs)
    wanted_grads = torch.autograd.grad((wanted * weights).sum(), inputs)
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(grad, wanted_grad)


def test_dropout_masks_what_enters_the_second_and_third_layer():
    writer = make_writer(dropout=0.25).double()
    images, labels = make_digits()
    images = images.double()
    torch.manual_seed(5)
    masks = dropout_masks(writer, images.new_empty(1, len(images), 32))
    torch.manual_seed(5)
    strokes = writer(images, labels)
    wanted = write_with_torch(writer, images, labels, [mask[:, 0] for mask in masks])
    torch.testing.assert_close(strokes, wanted)
    weights = torch.randn_like(wanted)
    grads = torch.autograd.grad((strokes * weights).sum(), list(writer.parameters()))
    wanted_grads = torch.autograd.grad((wanted * weights).sum(), list(writer.parameters()))
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(grad, wanted_grad)


def test_dropout_drops_its_share_and_keeps_the_mean_but_only_in_training():
    writer = make_writer(units=50, dropout=0.25)
    masks = torch.stack(dropout_masks(writer, torch.empty(1, 40, 200)))
    assert masks.shape == (2, 5, 1, 40, 50)
    assert torch.equal(masks.unique(), torch.tensor([0, 1 / 0.75]))
    assert abs((masks == 0).float().mean() - 0.25) < 0.02
    digits = make_digits()
    assert not torch.equal(writer(*digits), writer(*digits))
    wanted = make_writer(units=50)(*digits)
    assert torch.equal(writer.eval()(*digits), wanted)


def test_every_parameter_gets_a_gradient_from_the_drawing():
    writer = make_writer()
    images, labels = make_digits()
    pixel_loss(softraster.draw_strokes(writer(images, labels), 28), images).backward()
    for name, parameter in writer.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_strokes_are_points_of_the_canvas_with_a_softness():
    writer = make_writer(units=16, points=20)
    strokes = writer(*make_digits())
    assert strokes.shape == (6, 20, 3) and strokes.dtype == torch.float32
    assert strokes[..., :2].min() > 0 and strokes[..., :2].max() < 1
    softness = strokes[..., 2]
    assert softness.min() > START_SOFTNESS / 2 and softness.max() < START_SOFTNESS * 2


def test_each_digit_is_written_by_itself():
    writer = make_writer()
    images, labels = make_digits()
    one_by_one = [writer(images[i : i + 1], labels[i : i + 1]) for i in range(len(images))]
    torch.testing.assert_close(writer(images, labels), torch.cat(one_by_one))


def test_no_digits_give_no_strokes():
    strokes = make_writer()(torch.zeros(0, 28, 28), torch.zeros(0, dtype=torch.int64))
    assert strokes.shape == (0, 5, 3)


def test_double_backward_is_refused():
    writer = make_writer()
    images, labels = make_digits()
    loss = writer(images, labels).square().sum()
    (grad,) = torch.autograd.grad(loss, writer.projection, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize(("name", "value"), [("units", 0), ("units", 2.5), ("points", 1)])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
        WriterConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("composite", "over"), ("dropout", 1), ("dropout", -1)]
)
def test_bad_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* got"):
        WriterConfig(**{name: value})


def test_learns_eight_digits_by_heart():
    images = torch.zeros(8, 28, 28)
    for digit, image in enumerate(images):
        image[6:22, 8 + digit] = 1
        image[21, 8 + digit : 22] = 1
    labels = torch.arange(8)
    writer = make_writer(units=32, points=8)
    optimizer = torch.optim.Adam(writer.parameters(), 5e-3)
    for _ in range(200):
        loss = pixel_loss(softraster.draw_strokes(writer(images, labels), 28), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * images.square().mean()
