"""The neural line model: its layers are the post's, it draws strokes by segments, and is frozen."""

import itertools

import numpy as np
import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting.checkpoint import Checkpoint, CheckpointError, load_line_model, load_writer
from handwriting.models.line_model import LineModel
from handwriting.models.writer import Writer, WriterConfig


@pytest.fixture
def model():
    """A model with weights that matter, biases included."""
    torch.manual_seed(0)
    model = LineModel()
    with torch.no_grad():
        for layer in (model.dense2, model.conv1, model.conv2):
            layer.bias.uniform_(-0.5, 0.5)
    return model


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def convolve(images, weight, bias):
    """(28, 28, C) images by (O, C, k, k) weights, zeros around, pixel by pixel."""
    reach = weight.shape[2] // 2
    padded = np.pad(images, ((reach, reach), (reach, reach), (0, 0)))
    result = np.empty((28, 28, len(weight)))
    for i in range(28):
        for j in range(28):
            window = padded[i : i + 2 * reach + 1, j : j + 2 * reach + 1]
            result[i, j] = np.einsum("klc,ockl->o", window, weight) + bias
    return result


def test_the_layers_are_those_of_the_post(model):
    dense = 6 * 784 + 784 + 784 * 784 * 8 + 784 * 8
    convolutions = 5 * 5 * 8 * 16 + 16 + 3 * 3 * 16 + 1
    assert sum(weight.numel() for weight in model.parameters()) == dense + convolutions


def test_a_line_is_what_the_layers_written_out_give(model):
    segment = torch.rand(1, 6)
    w = {name: weight.numpy().astype(np.float64) for name, weight in model.state_dict().items()}
    hidden = elu(w["dense1.weight"] @ segment[0].numpy() + w["dense1.bias"])
    hidden = elu(w["dense2.weight"] @ hidden + w["dense2.bias"]).reshape(28, 28, 8)
    hidden = elu(convolve(hidden, w["conv1.weight"], w["conv1.bias"]))
    logits = convolve(hidden, w["conv2.weight"], w["conv2.bias"])[..., 0]
    wanted = torch.from_numpy(1 / (1 + np.exp(-logits))).float()
    torch.testing.assert_close(model(segment)[0], wanted, rtol=0, atol=1e-5)


def test_it_starts_with_about_as_much_ink_as_lines_have():
    torch.manual_seed(0)
    assert 0.005 < LineModel()(torch.rand(100, 6)).mean() < 0.05


@pytest.mark.parametrize("composite", ["sum", "max"])
def test_a_stroke_is_its_segments_merged(model, composite):
    points = torch.rand(3, 5, 3)
    for stroke, canvas in zip(points, model.draw(points, composite), strict=True):
        lines = [model(torch.cat(ends)[None])[0] for ends in itertools.pairwise(stroke)]
        merged = lines[0]
        for line in lines[1:]:
            merged = merged + line if composite == "sum" else torch.maximum(merged, line)
        torch.testing.assert_close(canvas, merged)


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 0, 3), (0, 20, 3)])
def test_strokes_without_a_segment_draw_nothing(model, shape):
    canvas = model.draw(torch.rand(shape), "max")
    assert canvas.shape == (shape[0], 28, 28) and not canvas.any()


def test_points_of_another_shape_and_other_composites_are_refused(model):
    for shape in ((5, 3), (2, 5, 4)):
        with pytest.raises(ValueError, match=r"points must have the shape \(B, P, 3\)"):
            model.draw(torch.rand(shape))
    with pytest.raises(ValueError, match="composite must be"):
        model.draw(torch.rand(1, 2, 3), "over")


def test_a_loaded_model_draws_the_same_and_passes_gradients_through_frozen_weights(model, tmp_path):
    path = tmp_path / "lines.safetensors"
    checkpoints.save(path, Checkpoint(model.config, model.state_dict()))
    loaded = load_line_model(path)
    points = torch.rand(1, 4, 3, requires_grad=True)
    canvas = loaded.draw(points)
    assert torch.equal(canvas, model.draw(points))
    canvas.square().sum().backward()
    assert all(weight.grad is None for weight in loaded.parameters())
    step = 1e-3 * torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))
    wide = loaded.double()
    with torch.no_grad():
        ahead, behind = (
            wide.draw((points + sign * step).double()).square().sum() for sign in (1, -1)
        )
    assert (points.grad * step).sum().item() == pytest.approx((ahead - behind).item() / 2, rel=1e-2)


def test_files_of_writers_and_of_line_models_are_told_apart(model, tmp_path):
    lines, writer = tmp_path / "lines.safetensors", tmp_path / "writer.safetensors"
    checkpoints.save(lines, Checkpoint(model.config, model.state_dict()))
    config = WriterConfig(units=4, points=3)
    checkpoints.save(writer, Checkpoint(config, Writer(config).state_dict()))
    with pytest.raises(CheckpointError, match="holds a Writer, not a LineModel"):
        load_line_model(writer)
    with pytest.raises(CheckpointError, match="holds a LineModel, not a Writer or Ensemble"):
        load_writer(lines)
