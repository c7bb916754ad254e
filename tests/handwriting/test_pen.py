"""The pen: its likelihood is the formula's, and a string read point by point is read as a whole."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from handwriting.layout import ALPHABET
from handwriting.models.pen import (
    DOWN,
    INPUTS,
    LIFT,
    SCALE,
    Outputs,
    Pen,
    PenConfig,
    choose,
    inputs,
    log_density,
    pen_loss,
)


@pytest.fixture
def pen():
    torch.manual_seed(0)
    return Pen(PenConfig(units=16, mixtures=3, windows=2)).double()


def some_points(count, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, batch, INPUTS, generator=generator, dtype=torch.float64)


def some_outputs(mixtures=4, batch=5):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    weight = random(mixtures).log_softmax(-1)
    rho = 0.9 * random(mixtures).tanh()
    return Outputs(random(3), weight, random(mixtures, 2), random(mixtures, 2), rho, random(2))


def test_the_density_is_that_of_a_mixture_of_normal_distributions():
    outputs, steps = some_outputs(), torch.randn(5, 2, dtype=torch.float64)
    sigma = outputs.log_sigma.exp()
    off = outputs.rho * sigma.prod(-1)
    rows = torch.stack((sigma[..., 0] ** 2, off, off, sigma[..., 1] ** 2), -1)
    parts = MultivariateNormal(outputs.mean, rows.unflatten(-1, (2, 2)))
    mixture = MixtureSameFamily(Categorical(logits=outputs.weight), parts)
    torch.testing.assert_close(log_density(outputs, steps), mixture.log_prob(steps))
    state = torch.tensor([0, 1, 2, 1, 0])
    wanted = -mixture.log_prob(steps) - Categorical(logits=outputs.pen).log_prob(state)
    torch.testing.assert_close(pen_loss(outputs, steps, state), wanted)


def test_drawn_points_are_spread_as_the_distribution_says():
    outputs = some_outputs(mixtures=2, batch=1)
    many = Outputs(*(part.expand(40_000, *part.shape[1:]) for part in outputs))
    steps, lifted = choose(many, 0.0, torch.Generator().manual_seed(0))
    share = outputs.weight.exp()[0]
    mean = (share[:, None] * outputs.mean[0]).sum(0)
    torch.testing.assert_close(steps.mean(0), mean, atol=0.05, rtol=0)
    sigma = outputs.log_sigma[0].exp()
    product = outputs.rho[0] * sigma.prod(-1) + outputs.mean[0].prod(-1)
    torch.testing.assert_close(steps.prod(1).mean(), (share * product).sum(), atol=0.1, rtol=0)
    share = outputs.pen[0, [DOWN, LIFT]].softmax(-1)[1]  # of the points that are not the last
    torch.testing.assert_close(lifted.double().mean(), share, atol=0.01, rtol=0)


def test_with_much_neatness_the_likeliest_point_is_drawn():
    outputs = some_outputs()
    steps, lifted = choose(outputs, 200.0, torch.Generator().manual_seed(0))
    best = outputs.weight.argmax(1)
    torch.testing.assert_close(steps, outputs.mean[torch.arange(5), best])
    assert torch.equal(lifted, outputs.pen[:, LIFT] > outputs.pen[:, DOWN])


def test_a_string_read_point_by_point_is_read_as_a_whole(pen):
    points, text = some_points(12, 3), torch.randint(0, len(ALPHABET), (3, 4))
    whole, _ = pen(points, text)
    state, parts = None, []
    for point in points.split(5):
        outputs, state = pen(point, text, state)
        parts.append(outputs)
    for name, wanted in whole._asdict().items():
        got = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(got, wanted, msg=name)


def test_what_is_beyond_the_end_of_a_text_changes_nothing(pen):
    points, text = some_points(9, 1), torch.tensor([[3, 1, 4]])
    longer = torch.tensor([[3, 1, 4, -1, -1]])
    (alone, _), (padded, _) = pen(points, text), pen(points, longer)
    torch.testing.assert_close(alone.mean, padded.mean)
    torch.testing.assert_close(alone.attention, padded.attention[..., :3])


def test_the_attention_moves_on_and_never_back(pen):
    points, text = some_points(30, 2), torch.randint(0, 10, (2, 6))
    state, before = None, torch.zeros(2, 2, dtype=torch.float64)
    for point in points:
        outputs, state = pen(point[None], text, state)
        assert (state.kappa > before).all()
        torch.testing.assert_close(outputs.attention.exp().sum(-1), torch.ones(1, 2).double())
        before = state.kappa


def test_inputs_are_those_of_a_slow_loop():
    random = np.random.default_rng(0)
    strokes = random.normal(size=(11, 3))
    strokes[:, 2] = random.random(11) < 0.3
    got = inputs(torch.from_numpy(strokes))
    last, lifted, began = np.zeros(2), 1.0, np.zeros(2)
    wanted = [[0, 0, 1, 0, 0, 0]]
    for x, y, up in strokes:
        here = np.array([x, y])
        began = here if lifted else began
        step, way = SCALE * (here - last), SCALE * (here - began)
        wanted.append([*step, up, SCALE * y, *way])
        last, lifted = here, up
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-12)
    batch = inputs(torch.from_numpy(np.stack((strokes, strokes[::-1].copy()))))
    torch.testing.assert_close(batch[0], got)


def test_every_parameter_is_learned(pen):
    points, text = some_points(10, 2), torch.randint(0, 10, (2, 3))
    outputs, _ = pen(points, text)
    loss = pen_loss(outputs, points[..., :2], torch.zeros(10, 2, dtype=torch.long)).mean()
    loss.backward()
    for name, parameter in pen.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_gradient_is_that_of_finite_differences(pen):
    points, text = some_points(4, 2), torch.randint(0, 10, (2, 3))

    def loss(bias):
        outputs, _ = torch.func.functional_call(pen, {"attend.bias": bias}, (points, text))
        return pen_loss(outputs, points[..., :2], torch.ones(4, 2, dtype=torch.long)).sum()

    bias = pen.attend.bias.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (bias,), atol=1e-6)


@pytest.mark.parametrize("name", ["units", "mixtures", "windows"])
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        PenConfig(**{name: value})


def test_the_first_attention_is_at_the_first_character(pen):
    text = torch.arange(4)[None]
    outputs, state = pen(some_points(1, 1), text)
    assert outputs.attention[0, 0].argmax() == 0
    assert 0 < state.kappa.max().item() < 1
