"""The export: what the model draws and how good it is, stopped and gone on with, and shared out."""

import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from handwriting import export as export_module
from handwriting import metrics
from handwriting.checkpoint import Checkpoint, save
from handwriting.cli import main
from handwriting.data import load_thinned
from handwriting.drawing import write_digits
from handwriting.evaluate import METRICS, measure
from handwriting.export import ExportConfig, export
from handwriting.formats import load_strokes
from handwriting.models.writer import Writer, WriterConfig
from handwriting.pendigits import load_pendigits
from handwriting.ranks import Ranks
from handwriting.reader import load_reader
from handwriting.resuming import hold
from handwriting.samples import load_samples
from handwriting.strokes import pen_lifted
from handwriting.tracer import trace

pytest.importorskip("cv2")
pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("thinned_cache")

# An export of the test's own digits in parts of four, as a process of its own.
PROGRAM = """
import json, sys
import torch
from pathlib import Path
from handwriting import export
torch.set_num_threads(1)
export._PART = 4
checkpoint, out, data = map(Path, sys.argv[1:])
export.export(export.ExportConfig(checkpoint, out, data))
"""


@pytest.fixture
def checkpoint(tmp_path):
    """Of an untrained writer that draws long lines and lifts the pen now and then."""
    torch.manual_seed(0)
    writer = Writer(WriterConfig(units=8, points=7))
    with torch.no_grad():
        writer.projection.mul_(20)
        writer.output_bias[2] = 3
    save(tmp_path / "writer.safetensors", Checkpoint(writer.config, writer.state_dict()))
    return tmp_path / "writer.safetensors", writer


@pytest.fixture
def small_parts(monkeypatch):
    """Ten digits a part, so that there are six."""
    monkeypatch.setattr(export_module, "_PART", 10)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_an_export_holds_the_points_and_the_lifts_of_the_model(
    checkpoint, people_dir, tmp_path, suffix
):
    path, writer = checkpoint
    out = export(ExportConfig(path, tmp_path / "new" / f"drawn{suffix}", people_dir, bits=32))
    got = load_strokes(out)
    halves = [load_thinned(split, people_dir) for split in ("train", "test")]
    assert got.label.tolist() == [label for half in halves for label in half.labels.tolist()]
    assert got.index.tolist() == [*range(40), *range(20)]
    assert got.split.tolist() == [0] * 40 + [1] * 20
    strokes = torch.cat([writer(half.images.float(), half.labels) for half in halves]).detach()
    assert got.strokes.shape == (60, 7, 3)
    np.testing.assert_allclose(got.strokes[..., :2], strokes[..., :2], atol=1e-6)
    lifted = got.strokes[..., 2]
    np.testing.assert_array_equal(lifted[:, :-1], pen_lifted(strokes))
    assert 0 < lifted[:, :-1].mean() < 1 and (lifted[:, -1] == 1).all()


def test_each_drawing_has_the_metrics_of_what_is_in_the_file(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    got = load_strokes(export(ExportConfig(path, tmp_path / "a.npz", people_dir)))
    recovered = {name for name in METRICS if name.startswith("recovery")}
    assert got.quality.keys() == METRICS.keys() - recovered - {"cnn_images"}
    reader = load_reader(load_thinned("train", people_dir))
    humans = load_pendigits("train", people_dir)
    for number, split in enumerate(("train", "test")):
        half, digits = got.select(got.split == number), load_thinned(split, people_dir)
        images, labels = digits.images.numpy(), digits.labels.numpy()
        wanted = measure(half.strokes, images, labels, reader, humans)
        for name, values in half.quality.items():
            np.testing.assert_allclose(values, wanted[name], rtol=1e-6, err_msg=name)
        worst = np.minimum(half.quality["precision"], half.quality["recall"])
        np.testing.assert_array_equal(half.failed, worst < metrics.FAILED_BELOW)
    assert got.failed.mean() > 0


def test_the_file_says_what_drew_it_from_what(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    out = export(ExportConfig(path, tmp_path / "a.h5", people_dir, limit=5))
    meta = load_strokes(out).meta
    assert meta["drawn_by"] == path.name and meta["count"] == {"train": 5, "test": 5}
    assert meta["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for split in ("train", "test"):
        digits = load_thinned(split, people_dir)
        bits = np.packbits(digits.images.numpy().reshape(len(digits.images), 784), axis=1)
        assert meta["data_sha256"][split] == {
            "thinned_images": hashlib.sha256(bits.tobytes()).hexdigest(),
            "labels": hashlib.sha256(bytes(digits.labels.tolist())).hexdigest(),
        }
    assert meta["metrics"]["f1"] == METRICS["f1"]
    assert str(tmp_path) not in json.dumps(meta) and str(people_dir) not in json.dumps(meta)


def test_a_limit_exports_the_first_digits_of_each_half(checkpoint, data_dir, tmp_path):
    path, writer = checkpoint
    config = ExportConfig(path, tmp_path / "a.npz", data_dir, limit=9, bits=32)
    with pytest.warns(UserWarning, match="dtw and forward are left out: .*pendigits"):
        got = load_strokes(export(config))
    assert got.index.tolist() == [*range(9), *range(9)] and "dtw" not in got.quality
    for number, split in enumerate(("train", "test")):
        digits = load_thinned(split, data_dir)
        wanted = write_digits(writer, digits.images[:9], digits.labels[:9])
        np.testing.assert_array_equal(got.strokes[got.split == number], wanted)


def test_the_tracers_strokes_are_exported_likewise(people_dir, tmp_path):
    config = ExportConfig(None, tmp_path / "a.npz", people_dir, "test", tracer=True, bits=32)
    got = load_strokes(export(config))
    np.testing.assert_array_equal(
        got.strokes, trace(load_thinned("test", people_dir).images.numpy())
    )
    assert got.meta["drawn_by"] == "tracer" and "model_sha256" not in got.meta


def test_a_model_can_be_trained_on_what_was_exported(people_dir, tmp_path):
    out = export(ExportConfig(None, tmp_path / "a.npz", people_dir, "train", tracer=True))
    assert load_samples(out).strokes.shape == (40, 20, 3)
    options = ["--units", "4", "--epochs", "1", "--batch-size", "20", "--warm-up", "2"]
    options += ["--samples", str(out), "--data", str(people_dir), "--device", "cpu"]
    assert main(["train", "--out", str(tmp_path / "run"), *options]) == 0


def test_a_file_is_written_again_in_another_format(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    first = export(ExportConfig(path, tmp_path / "a.h5", people_dir))
    second = export(ExportConfig(None, tmp_path / "b.npz", strokes=first))
    direct = export(ExportConfig(path, tmp_path / "c.npz", people_dir))
    assert second.read_bytes() == direct.read_bytes()
    few = export(ExportConfig(None, tmp_path / "d.npz", split="test", limit=3, strokes=first))
    assert load_strokes(few).index.tolist() == [0, 1, 2] and load_strokes(few).split.all()
    with pytest.raises(ValueError, match=r"d\.npz: has no drawing of the split 'train'"):
        export(ExportConfig(None, tmp_path / "e.npz", split="train", strokes=few))


@pytest.mark.usefixtures("small_parts")
def test_what_was_drawn_is_not_drawn_again(checkpoint, people_dir, tmp_path, monkeypatch):
    path, _ = checkpoint
    whole = export(ExportConfig(path, tmp_path / "a.npz", people_dir)).read_bytes()
    config = ExportConfig(path, tmp_path / "b.npz", people_dir)
    drawn = []

    def draw(writer, images, labels):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(len(images))
        return write_digits(writer, images, labels)

    monkeypatch.setattr(export_module, "write_digits", draw)
    with pytest.raises(KeyboardInterrupt):
        export(config)
    assert drawn == [10, 10, 10] and not config.out.exists()
    (folder,) = (entry for entry in tmp_path.iterdir() if entry.name.endswith(".parts"))
    damaged = sorted(folder.glob("*.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:300])
    monkeypatch.setattr(export_module, "write_digits", write_digits)
    drawn.clear()
    with pytest.warns(UserWarning, match=rf"{damaged.name}: damaged, .* drawn again"):
        export(config)
    assert config.out.read_bytes() == whole and not folder.exists()


@pytest.mark.usefixtures("small_parts")
def test_parts_of_another_export_are_drawn_anew(checkpoint, people_dir, tmp_path, monkeypatch):
    path, writer = checkpoint
    config = ExportConfig(path, tmp_path / "a.npz", people_dir)
    monkeypatch.setattr(export_module, "save_strokes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(config)
    monkeypatch.undo()
    with torch.no_grad():
        writer.output_bias[0] += 0.5
    save(path, Checkpoint(writer.config, writer.state_dict()))
    other = dataclasses.replace(config, out=tmp_path / "b.npz")
    assert export(config).read_bytes() == export(other).read_bytes()


def test_a_second_process_on_the_same_file_is_refused(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    config = ExportConfig(path, tmp_path / "a.npz", people_dir)
    parts = tmp_path / ".a.npz.parts"
    parts.mkdir()
    with hold(parts), pytest.raises(OSError, match=r"\.a\.npz\.parts is in use by another process"):
        export(config)
    assert not config.out.exists()
    assert export(config).exists() and not parts.exists()


@pytest.mark.usefixtures("small_parts")
def test_parts_that_another_rank_put_elsewhere_are_missed(
    checkpoint, people_dir, tmp_path, monkeypatch
):
    path, _ = checkpoint
    monkeypatch.setattr(Ranks, "wait", lambda self: None)
    config = ExportConfig(path, tmp_path / "a.npz", people_dir)
    with pytest.raises(OSError, match=r"train-000010\.npz was drawn elsewhere: ranks must share"):
        export_module._draw(config, Ranks(0, 2))
    assert not config.out.exists()
    export_module._draw(config, Ranks(1, 2))
    export_module._draw(config, Ranks(0, 2))
    alone = export(dataclasses.replace(config, out=tmp_path / "b.npz"))
    assert config.out.read_bytes() == alone.read_bytes()


def interrupt(*_):
    raise KeyboardInterrupt


def start(checkpoint, out, data, **environment):
    """Start PROGRAM."""
    command = [sys.executable, "-c", PROGRAM, str(checkpoint), str(out), str(data)]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What a process printed; it must have ended well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_a_killed_export_goes_on_to_the_same_bytes(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    whole, out = tmp_path / "whole.h5", tmp_path / "killed.h5"
    finish(start(path, whole, people_dir))
    process = start(path, out, people_dir)
    parts = tmp_path / ".killed.h5.parts"
    while process.poll() is None and len(list(parts.glob("*.npz"))) < 4:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not out.exists()
    assert 4 <= len(list(parts.glob("*.npz"))) < 15
    finish(start(path, out, people_dir))
    assert out.read_bytes() == whole.read_bytes() and not parts.exists()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_ranks_share_the_work_and_give_the_same_bytes(checkpoint, people_dir, tmp_path):
    path, _ = checkpoint
    alone, shared = tmp_path / "alone.npz", tmp_path / "shared.npz"
    finish(start(path, alone, people_dir))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [start(path, shared, people_dir, RANK=str(rank), **world) for rank in (0, 1)]
    printed = [finish(process).split() for process in ranks]
    assert shared.read_bytes() == alone.read_bytes()
    assert printed == [[str(shared)], []]
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {path.name, alone.name, shared.name}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"out": Path("a.txt")}, r"out must end in .*got a\.txt"),
        ({"format": "csv"}, "format must be one of hdf5, npz, ndjson, stroke3, got 'csv'"),
        ({"split": "both"}, "split must be one of train, test, all, got 'both'"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"bits": 8}, "bits must be 16 or 32, got 8"),
        ({"checkpoint": None}, "one of checkpoint, tracer, strokes must be given, got None"),
        ({"tracer": True}, "must be given, got checkpoint and tracer"),
    ],
)
def test_bad_options_are_refused_by_name(options, says):
    config = ExportConfig(Path("a"), Path("a.npz"))
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(config, **options)
