"""Renderers against the drawing functions they stand for, and what a lifted pen means to each."""

import pytest
import torch

import softraster
from handwriting import checkpoint as checkpoints
from handwriting.models.line_model import LineModel
from handwriting.renderers import line_model_renderer, soft_renderer
from handwriting.strokes import LIFTED_LOG_SOFTNESS, pen_lifted

pytest.importorskip("safetensors")


@pytest.fixture
def line_model(tmp_path):
    """A line model with the weights that it starts from, and its file."""
    torch.manual_seed(0)
    model = LineModel()
    path = tmp_path / "lines.safetensors"
    checkpoints.save(path, checkpoints.Checkpoint(model.config, model.state_dict()))
    return model, path


@pytest.fixture
def strokes():
    """Two strokes of four points, some lifted."""
    torch.manual_seed(1)
    strokes = torch.rand(2, 4, 3)
    strokes[..., 2] = (LIFTED_LOG_SOFTNESS + torch.tensor([-2.0, 1.0, 3.0, -0.5])).exp()
    return strokes


@pytest.mark.parametrize("composite", ["sum", "max"])
def test_soft_lines_are_softrasters(strokes, composite):
    wanted = softraster.draw_strokes(strokes, 28, composite=composite)
    assert torch.equal(soft_renderer(composite)(strokes), wanted)


@pytest.mark.parametrize("composite", ["sum", "max"])
def test_the_line_model_is_fed_flags_for_softness(strokes, line_model, composite):
    model, path = line_model
    flags = torch.sigmoid(LIFTED_LOG_SOFTNESS - strokes[..., 2:].log())
    segments = [torch.cat((strokes[:, i, :2], flags[:, i], strokes[:, i + 1, :2], flags[:, i + 1]),
                          dim=1) for i in range(3)]  # fmt: skip
    lines = torch.stack([model(segment) for segment in segments])
    wanted = lines.sum(0) if composite == "sum" else lines.amax(0)
    canvas = line_model_renderer(path, composite, torch.device("cpu"))(strokes)
    torch.testing.assert_close(canvas, wanted)
    assert ((flags[:, :-1, 0] > 0.5) == pen_lifted(strokes)).all()


def test_the_line_model_is_frozen_and_passes_gradients_to_every_number(strokes, line_model):
    draw = line_model_renderer(line_model[1], "sum", torch.device("cpu"))
    strokes.requires_grad_()
    canvas = draw(strokes)
    (grad,) = torch.autograd.grad(canvas.square().sum(), strokes)
    assert (grad != 0).all()
    with torch.no_grad():
        constant = draw(strokes)
    assert not constant.requires_grad
