"""Weights of the package: made from a run, loaded by name, and still what they were measured as."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import handwriting
from handwriting import checkpoint as checkpoints
from handwriting import cli, shipped
from handwriting.models.ensemble import Ensemble
from handwriting.shipped import NAMES, ShipConfig, check_figures, load_shipped, ship, shipped_path
from handwriting.train import TrainConfig, train

pytest.importorskip("cv2")
pytest.importorskip("mlxtend")
pytestmark = pytest.mark.usefixtures("thinned_cache")


@pytest.fixture
def config(tmp_path, people_dir):
    """A tiny run, to be shipped into a folder of the test."""
    run = tmp_path / "run"
    options = {"model": "ensemble", "units": 4, "batch_size": 20, "epochs": 2, "seed": 3}
    train(TrainConfig(out=run, data_dir=people_dir, device="cpu", **options))
    command = "python -m handwriting train --model ensemble"
    return ShipConfig(run, "rung7", command, out=tmp_path / "weights", data_dir=people_dir)


def test_a_shipped_file_is_the_run_in_half_precision_with_what_made_it(config):
    path = ship(config)
    assert path == config.out / "rung7.safetensors" and len(list(config.out.iterdir())) == 1
    run = checkpoints.load(config.run / "checkpoint.safetensors")
    file = checkpoints.load(path)
    assert file.config == run.config and not file.optimizer
    for name, tensor in run.weights.items():
        assert file.weights[name].dtype == torch.float16
        torch.testing.assert_close(file.weights[name].float(), tensor, rtol=1e-3, atol=1e-6)
    training = file.training
    assert training["made_by"] == config.made_by and training["options"]["seed"] == 3
    assert training["measured"]["count"] == 20 and 0 <= training["measured"]["figures"]["f1"] <= 1
    assert training["check"] == pytest.approx(check_figures(checkpoints.load_writer(path)))
    assert str(config.run.parent) not in json.dumps(training)


def test_a_model_is_loaded_by_its_name_and_writes(config, monkeypatch):
    monkeypatch.setattr(shipped, "WEIGHTS", config.out)
    ship(config)
    model = handwriting.load_shipped("rung7")
    assert isinstance(model, Ensemble) and next(model.parameters()).dtype == torch.float32
    assert model(torch.zeros(2, 28, 28), torch.tensor([1, 2])).shape == (2, 20, 3)
    with pytest.raises(ValueError, match="name must be rung7 or rung9, got 'rung8'"):
        load_shipped("rung8")
    with pytest.raises(FileNotFoundError, match=r"no weights 'rung9': put rung9\.safetensors into"):
        load_shipped()
    with pytest.raises(AttributeError, match="load_shiped"):
        _ = handwriting.load_shiped


def test_export_figures_and_evaluate_take_shipped_weights(
    config, people_dir, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(shipped, "WEIGHTS", config.out)
    monkeypatch.chdir(tmp_path)
    data = ["--data", str(people_dir)]
    options = ["--run", str(config.run), "--name", "rung9", "--made-by", "train"]
    with pytest.raises(SystemExit):
        cli.main(["ship", *options[:-2], *data])
    assert "--made-by" in capsys.readouterr().err
    assert cli.main(["ship", *options, *data]) == 0
    assert cli.main(["export", "--out", "a.npz", "--split", "test", *data]) == 0
    drawings = np.load("a.npz")
    assert drawings["strokes"].shape == (20, 20, 3)
    assert cli.main(["figures", "--shipped", "rung9", *data]) == 0
    assert (tmp_path / "figure.png").exists()
    assert cli.main(["evaluate", "--shipped", "rung9", "--limit", "5", *data]) == 0
    capsys.readouterr()
    assert cli.main(["export", "--shipped", "rung7", "--out", "b.npz", *data]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "no weights 'rung7'" in lines[0]
    with pytest.raises(SystemExit):
        cli.main(["figures", "--shipped", "best", *data])
    assert "name must be rung7 or rung9, got 'best'" in capsys.readouterr().err


def test_what_does_not_fit_in_is_not_shipped(config, monkeypatch):
    with pytest.raises(ValueError, match="made_by must be a command, got ' '"):
        dataclasses.replace(config, made_by=" ")
    path = config.run / "checkpoint.safetensors"
    run = checkpoints.load(path)
    run.weights["bias0"][0, 0] = 1e6
    checkpoints.save(path, run)
    with pytest.raises(ValueError, match="bias0 has weights beyond float16"):
        ship(config)
    monkeypatch.setattr(shipped, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1,000"):
        ship(config)
    assert not config.out.exists()


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_have_the_figures_they_were_shipped_with(name):
    try:
        path = shipped_path(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    training = checkpoints.load(path).training
    assert path.stat().st_size <= shipped.MAX_BYTES
    assert training["made_by"] and training["measured"]["count"] == 10_000
    figures = check_figures(load_shipped(name))
    assert figures.keys() == training["check"].keys()
    for metric, value in figures.items():
        assert value == pytest.approx(training["check"][metric], rel=0.02, abs=0.01), metric
    assert figures["f1"] > 0.9
