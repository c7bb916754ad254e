"""Checkpoints: what is written comes back, and what is no checkpoint is refused in one line."""

import json
import zlib

import pytest
import torch

from handwriting import checkpoint as checkpoints
from handwriting.checkpoint import Checkpoint, CheckpointError
from handwriting.models.ensemble import Ensemble, EnsembleConfig
from handwriting.models.writer import Writer, WriterConfig

safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.fixture
def writer():
    torch.manual_seed(0)
    return Writer(WriterConfig(units=4, points=3))


@pytest.fixture
def path(tmp_path, writer):
    """A sound checkpoint."""
    path = tmp_path / "writer.safetensors"
    optimizer = {"projection/exp_avg": torch.rand(3, 4), "projection/step": torch.tensor(7.0)}
    training = {"step": 7, "elapsed": 0.1, "options": {"lr": 5e-4, "limit": None}}
    checkpoints.save(path, Checkpoint(writer.config, writer.state_dict(), optimizer, training))
    return path


def refused(path):
    """The message with which a file is refused, checked to be one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load_writer(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def rewrite(path, **metadata):
    """Change entries of the metadata, and the checksum to go with them; None takes one away."""
    with safetensors_torch.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        merged = {**file.metadata(), **metadata}
    kept = {key: value for key, value in merged.items() if value is not None}
    checkpoints.save_tensors(path, tensors, kept)


def test_everything_comes_back(path, writer):
    loaded = checkpoints.load(path)
    assert loaded.config == writer.config
    assert loaded.training == {"step": 7, "elapsed": 0.1, "options": {"lr": 5e-4, "limit": None}}
    assert loaded.weights.keys() == writer.state_dict().keys()
    for name, weight in writer.state_dict().items():
        assert torch.equal(loaded.weights[name], weight)
    assert loaded.optimizer["projection/step"] == 7


def test_the_writer_is_rebuilt_from_its_own_config(path, writer):
    images, labels = torch.rand(2, 28, 28), torch.tensor([3, 9])
    assert torch.equal(checkpoints.load_writer(path)(images, labels), writer(images, labels))


def test_an_ensemble_and_its_options_come_back(tmp_path):
    torch.manual_seed(0)
    ensemble = Ensemble(EnsembleConfig(units=4, points=3, composite="max", dropout=0.5)).eval()
    path = tmp_path / "ensemble.safetensors"
    checkpoints.save(path, Checkpoint(ensemble.config, ensemble.state_dict()))
    loaded = checkpoints.load_writer(path)
    assert isinstance(loaded, Ensemble) and loaded.config == ensemble.config
    images, labels = torch.rand(2, 28, 28), torch.tensor([3, 9])
    assert torch.equal(loaded(images, labels), ensemble(images, labels))


def test_a_model_that_is_not_known_is_refused(path):
    rewrite(path, model="parrot")
    assert "parrot" in refused(path)


def test_a_file_cut_short_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refused(path)


def test_a_changed_byte_is_refused(path):
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
        assert "checksum" in refused(path)


def test_files_of_other_kinds_are_refused(path):
    path.write_bytes(b"\x89PNG\r\n" * 100)
    refused(path)
    path.write_bytes(safetensors_torch.save({"weight": torch.zeros(2)}))
    assert "not a checkpoint of a writer" in refused(path)


def test_a_later_version_is_refused(path):
    rewrite(path, version="3")
    assert "version 3, this program reads 1 and 2" in refused(path)


def test_a_file_of_the_first_version_is_read_with_its_checksum_of_the_tensors(path, writer):
    with safetensors_torch.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    code = 0
    for name in sorted(tensors):
        code = zlib.crc32(tensors[name].numpy().tobytes(), zlib.crc32(name.encode(), code))
    metadata |= {"version": "1", "checksum": f"{code:08x}"}
    path.write_bytes(safetensors_torch.save(tensors, metadata))
    assert checkpoints.load(path).training["step"] == 7
    path.write_bytes(safetensors_torch.save(tensors, {**metadata, "checksum": f"{code ^ 1:08x}"}))
    assert "checksum" in refused(path)


@pytest.mark.parametrize(
    "config", [None, "{", "[]", "{}x", json.dumps({"units": 0}), json.dumps({"size": 3})]
)
def test_a_config_that_makes_no_sense_is_refused(path, config):
    rewrite(path, config=config)
    refused(path)


def test_weights_of_another_size_are_refused(path):
    rewrite(path, config=json.dumps({"units": 5, "points": 3}))
    assert "do not fit" in refused(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent.safetensors"):
        with pytest.raises(OSError, match=path.name):
            checkpoints.load(path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, writer, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(path, Checkpoint(writer.config, writer.state_dict()))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
