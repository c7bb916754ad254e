"""The ensemble against torch's own LSTM layers, a net for each digit alone, and that it learns."""

import pytest
import torch
from torch import nn

import softraster
from handwriting.losses import pixel_loss
from handwriting.models.ensemble import Ensemble, EnsembleConfig
from handwriting.models.writer import START_SOFTNESS


def make_ensemble(units=6, points=5, seed=0, **options):
    torch.manual_seed(seed)
    return Ensemble(EnsembleConfig(units=units, points=points, **options))


def make_digits(labels, seed=1):
    torch.manual_seed(seed)
    return (torch.rand(len(labels), 28, 28) < 0.05).float(), torch.tensor(labels)


LABELS = [3, 9, 3, 0, 3, 5, 0, 9]  # unsorted, of several sizes, most digits absent


def torch_order(tensor):
    """Gates (input, forget, output, candidate) in the order of torch, candidate before output."""
    in_gate, forget_gate, out_gate, candidate = tensor.chunk(4)
    return torch.cat((in_gate, forget_gate, candidate, out_gate))


def write_with_torch(ensemble, image, label):
    """The stroke (1, P, 3) of one digit by functional calls of nn.LSTMCell and a projected nn.LSTM.

    The layers' inputs are put together here as the post says: image and point; hidden state below
    and point; likewise. Rows of the ensemble's weights are (state, below, point).
    """
    units = ensemble.config.units
    zeros = image.new_zeros
    weights = [getattr(ensemble, f"weight{layer}")[label].t() for layer in range(3)]
    biases = [torch_order(getattr(ensemble, f"bias{layer}")[label]) for layer in range(3)]
    static = ensemble.static_weight[label].t()
    entering = [torch.cat((static, weights[0][:, units:]), dim=1), weights[1][:, units:]]
    cells = [nn.LSTMCell(784 + 3, units).to(image), nn.LSTMCell(units + 3, units).to(image)]
    parameters = [
        {
            "weight_ih": torch_order(entering[layer]),
            "weight_hh": torch_order(weights[layer][:, :units]),
            "bias_ih": biases[layer],
            "bias_hh": zeros(4 * units),
        }
        for layer in range(2)
    ]
    top = nn.LSTM(units + 3, units, proj_size=3).to(image)
    top_parameters = {
        "weight_ih_l0": torch_order(weights[2][:, 3:]),
        "weight_hh_l0": torch_order(weights[2][:, :3]),
        "bias_ih_l0": biases[2],
        "bias_hh_l0": zeros(4 * units),
        "weight_hr_l0": ensemble.projection[label].t(),
    }
    states = [(zeros(1, units), zeros(1, units)) for _ in cells]
    top_state = zeros(1, 1, 3), zeros(1, 1, units)
    point = zeros(1, 3)
    points = []
    for _ in range(ensemble.config.points):
        value = image.reshape(1, 784)
        for layer, cell in enumerate(cells):
            value = torch.cat((value, point), dim=1)
            states[layer] = torch.func.functional_call(
                cell, parameters[layer], (value, states[layer])
            )
            value = states[layer][0]
        value = torch.cat((value, point), dim=1)
        value, top_state = torch.func.functional_call(top, top_parameters, (value[None], top_state))
        x, y, z = (value[0] + ensemble.output_bias[label]).unbind(1)
        point = torch.stack((torch.sigmoid(x), torch.sigmoid(y), z), dim=1)
        points.append(torch.stack((torch.sigmoid(x), torch.sigmoid(y), torch.exp(z)), dim=1))
    return torch.stack(points, dim=1)


def test_strokes_and_gradients_equal_those_of_one_torch_net_for_each_digit():
    ensemble = make_ensemble().double()
    with torch.no_grad():  # livelier than at the start, so that no gate stays in its linear part
        for parameter in ensemble.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    images, labels = make_digits(LABELS)
    images = images.double().requires_grad_()
    wanted = torch.cat([write_with_torch(ensemble, images[i], LABELS[i]) for i in range(8)])
    strokes = ensemble(images, labels)
    torch.testing.assert_close(strokes, wanted)
    weights = torch.randn_like(wanted)
    inputs = [images, *ensemble.parameters()]
    grads = torch.autograd.grad((strokes * weights).sum(), inputs)
    wanted_grads = torch.autograd.grad((wanted * weights).sum(), inputs)
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(grad, wanted_grad)


def test_gradients_equal_finite_differences():
    ensemble = make_ensemble(units=2, points=3, dropout=0.4).double().train()
    images, labels = make_digits([4, 1, 4])
    images = images.double()

    def strokes(*weights):
        torch.manual_seed(3)  # the same masks each time
        named = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(ensemble, named, (images, labels))[..., :2]

    names = [name for name, _ in ensemble.named_parameters() if name != "static_weight"]
    weights = [getattr(ensemble, name) for name in names]
    assert torch.autograd.gradcheck(strokes, weights, fast_mode=True)


def test_each_digit_is_written_by_itself():
    ensemble = make_ensemble()
    images, labels = make_digits(LABELS)
    one_by_one = [ensemble(images[i : i + 1], labels[i : i + 1]) for i in range(len(images))]
    torch.testing.assert_close(ensemble(images, labels), torch.cat(one_by_one))


def test_the_nets_of_other_labels_are_left_alone():
    ensemble = make_ensemble()
    images, labels = make_digits([3, 9, 3])
    pixel_loss(softraster.draw_strokes(ensemble(images, labels), 28), images).backward()
    for name, parameter in ensemble.named_parameters():
        touched = parameter.grad.abs().flatten(1).sum(1).nonzero().flatten().tolist()
        assert touched == [3, 9], name


def test_strokes_are_points_of_the_canvas_with_a_softness():
    strokes = make_ensemble(units=16, points=20)(*make_digits(LABELS))
    assert strokes.shape == (8, 20, 3) and strokes.dtype == torch.float32
    assert strokes[..., :2].min() > 0 and strokes[..., :2].max() < 1
    softness = strokes[..., 2]
    assert softness.min() > START_SOFTNESS / 2 and softness.max() < START_SOFTNESS * 2


def test_no_digits_give_no_strokes():
    strokes = make_ensemble()(torch.zeros(0, 28, 28), torch.zeros(0, dtype=torch.int64))
    assert strokes.shape == (0, 5, 3)


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_that_are_no_digits_are_refused(label):
    with pytest.raises(ValueError, match=r"labels must be 0 to 9, got"):
        make_ensemble()(*make_digits([3, label]))


def test_learns_ten_digits_by_heart():
    images = torch.zeros(10, 28, 28)
    for digit, image in enumerate(images):
        image[6:22, 8 + digit] = 1
        image[21, 8 + digit : 22] = 1
    labels = torch.arange(10)
    ensemble = make_ensemble(units=16, points=8)
    optimizer = torch.optim.Adam(ensemble.parameters(), 5e-3)
    for _ in range(200):
        loss = pixel_loss(softraster.draw_strokes(ensemble(images, labels), 28), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5 * images.square().mean()
