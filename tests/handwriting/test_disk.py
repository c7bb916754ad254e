"""Disks that are full, folders that cannot be written or are in use, data that is gone.

Each command says so in one line that names the path, with status 1, and loses nothing.
"""

import contextlib
import dataclasses
import resource
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from training_runs import assert_same_bits, hook_steps, small

from handwriting import checkpoint as checkpoints
from handwriting import ladder, ship_pen, shipped
from handwriting.checkpoint import CHECKPOINT_NAME, Checkpoint
from handwriting.cli import main
from handwriting.data import load_thinned
from handwriting.files import write_atomically
from handwriting.formats import StrokeSet, save_strokes
from handwriting.made_photos import make_photo
from handwriting.models.writer import Writer, WriterConfig
from handwriting.reader import load_reader
from handwriting.resuming import hold
from handwriting.samples import load_samples
from handwriting.synthesis import WEIGHTS
from handwriting.train import train

for module in ("cv2", "h5py", "mlxtend", "safetensors", "tensorboard", "filelock"):
    pytest.importorskip(module)
image_module = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.usefixtures("thinned_cache")

LONG = pytest.mark.long


@contextlib.contextmanager
def full_disk(most=0):
    """No file can grow beyond so many bytes: as on a full disk, a write ends short, then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def made(tmp_path_factory, people_dir, cache_dir):
    """What commands read: a folder with runs, strokes and a photograph; caches are made, too."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTRASTER_CACHE", str(cache_dir))
        load_reader(load_thinned("train", people_dir))
        load_thinned("test", people_dir)
    torch.manual_seed(0)
    writer = Writer(WriterConfig(units=4))
    pen = checkpoints.load(WEIGHTS)
    for name, held in (
        ("run", Checkpoint(writer.config, writer.state_dict())),
        ("pen", dataclasses.replace(pen, training={"step": 3})),
    ):
        (folder / name).mkdir()
        checkpoints.save(folder / name / CHECKPOINT_NAME, held)
    own = load_samples("own")
    places = np.concatenate([np.flatnonzero(own.labels == label) for label in range(10)])
    chosen = places[np.arange(1000) // 2 % 10 * 16 + np.arange(1000) // 20 % 16]
    zeros = np.zeros(1000, int)
    strokes, labels = own.strokes.numpy()[chosen], own.labels.numpy()[chosen]
    drawn = StrokeSet(strokes, labels, np.arange(1000), zeros, zeros > 0, {}, {})
    save_strokes(folder / "strokes.npz", drawn, "npz")
    photo = make_photo([own.strokes[int(places[50])].numpy()], "scan", np.random.default_rng(0))
    image_module.fromarray(photo.pixels).save(folder / "photo.png")
    return folder


# By command: its options but for data and device, and the files or folders that it writes. IN is
# the folder of `made`, OUT the one that cannot be written.
COMMANDS = {
    "train": ("--units 4 --epochs 1 --batch-size 20 --out OUT/run", "OUT/run"),
    "train-pen": ("--strokes IN/strokes.npz --units 4 --steps 2 --out OUT/run", "OUT/run"),
    "line-model": ("--images 4 --batch-size 4 --workers 0 --out OUT/run", "OUT/run"),
    "export": ("--tracer --limit 5 --out OUT/a.h5", "OUT/a.h5"),
    "ship": ("--run IN/run --name rung7 --made-by me", "OUT/rung7.safetensors"),
    "ship-pen": ("--run IN/pen --made-by me", "OUT/pen.safetensors"),
    "experiments": ("--scale tiny --rungs 1 --out OUT/results", "OUT/results/experiments.json"),
    "card": ("--run IN/run --files OUT --out OUT/a.json --limit 5", "OUT/digits.h5"),
    "figures": ("--run IN/run --out OUT/a.png", "OUT/a.png"),
    "evaluate": ("--tracer --limit 5 --out OUT/a.json", "OUT/a.json"),
    "legibility": ("--method collage --count 2 --out OUT/a.json", "OUT/a.json"),
    "write": ("1 --method collage --out OUT/a.svg", "OUT/a.svg"),
    "trace": ("IN/photo.png --steps 0 --out OUT/a.svg", "OUT/a.svg"),
    "show": ("IN/strokes.npz --count 10 --png OUT/a.png", "OUT/a.png"),
}
NO_DATA = {"train-pen", "line-model", "write", "trace", "show"}
ON_DEVICE = {"train", "train-pen", "line-model", "experiments"}
TAKE_SECONDS = {"experiments", "legibility", "card"}
FOLDERS = {"train", "train-pen", "line-model"}

each_command = pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=LONG if name in TAKE_SECONDS else ()) for name in COMMANDS],
)


@pytest.fixture
def run_in(made, people_dir, monkeypatch, capsys):
    """Run a command with OUT in a folder: its status, and what it said but for warnings."""
    scale = dataclasses.replace(ladder.SCALES["quick"], test_digits=5, references=("tracer",))
    monkeypatch.setitem(ladder.SCALES, "tiny", scale)

    def run(command, out):
        options = COMMANDS[command][0].split()
        options = [part.replace("IN", str(made)).replace("OUT", str(out)) for part in options]
        options += [] if command in NO_DATA else ["--data", str(people_dir)]
        options += ["--device", "cpu"] if command in ON_DEVICE else []
        if command.startswith("ship"):
            monkeypatch.setattr(shipped, "WEIGHTS", out)
            monkeypatch.setattr(ship_pen, "WEIGHTS", out / "pen.safetensors")
        capsys.readouterr()
        status = main([command, *options])
        lines = capsys.readouterr().err.splitlines()
        return status, [line for line in lines if not line.startswith("warning")]

    return run


def left(folder):
    """What is in a folder and below, but for locks, logs and folders."""
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(name) for name in names if not name.name.startswith((".lock", "events."))}


@each_command
def test_a_full_disk_is_said_and_what_was_there_stays(command, run_in, tmp_path):
    target = COMMANDS[command][1].replace("OUT", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    before = set()
    if command not in {*FOLDERS, "experiments", "card"}:  # those go on with what is there
        (tmp_path / "out" / target.rpartition("/")[2]).write_text("kept")
        before = left(tmp_path / "out")
    with full_disk():
        status, lines = run_in(command, tmp_path / "out")
    assert status == 1 and len(lines) == 1, lines
    assert f" {command}: error: " in lines[0] and "File too large" in lines[0]
    assert str(tmp_path / "out") in lines[0]
    assert left(tmp_path / "out") == before
    for name in before:
        assert (tmp_path / "out" / name).read_text() == "kept"


@each_command
def test_a_folder_that_cannot_be_written_is_said(command, run_in, tmp_path):
    occupied = tmp_path / "occupied"
    occupied.write_text("kept")
    status, lines = run_in(command, occupied)
    assert status == 1 and len(lines) == 1, lines
    assert f" {command}: error: " in lines[0] and str(occupied) in lines[0]
    assert occupied.read_text() == "kept" and left(tmp_path) == {"occupied"}


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        *((name, "run") for name in sorted(FOLDERS)),
        ("export", ".a.h5.parts"),
        ("experiments", "results/runs"),
    ],
)
def test_a_second_process_in_a_folder_is_refused(command, folder, run_in, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    with hold(tmp_path / folder):
        status, lines = run_in(command, tmp_path)
    assert status == 1 and len(lines) == 1, lines
    assert str(tmp_path / folder) in lines[0] and "is in use by another process" in lines[0]
    assert left(tmp_path) == set()


@pytest.mark.parametrize("lost", ["disk", "data"])
def test_a_run_that_ran_out_of_disk_or_data_goes_on_to_the_same_bits(
    lost, tmp_path, data_dir, monkeypatch
):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    config = dataclasses.replace(small(tmp_path, data), save_every=1e-9)
    unbroken = checkpoints.load(train(dataclasses.replace(config, out=tmp_path / "whole")).path)
    path = config.out / CHECKPOINT_NAME
    if lost == "disk":
        with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
            # The log still fits, the checkpoint does not.
            size = len((tmp_path / "whole" / CHECKPOINT_NAME).read_bytes())
            hook_steps(patch, lambda n, _: n == 8 and stack.enter_context(full_disk(size - 1)))
            with pytest.raises(OSError, match=f"File too large: .*{CHECKPOINT_NAME}"):
                train(config)
        assert left(config.out) == {CHECKPOINT_NAME}
    else:
        train(dataclasses.replace(config, epochs=1))
        shutil.rmtree(data)
        before = path.read_bytes()
        with pytest.raises(FileNotFoundError, match="data: no such folder"):
            train(config)
        assert path.read_bytes() == before
        shutil.copytree(data_dir, data)
    assert 0 < checkpoints.load(path).training["step"] < 15
    train(config)
    assert_same_bits(path, unbroken)


def test_digits_are_needed_at_the_start_only(tmp_path, data_dir, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    hook_steps(monkeypatch, lambda number, _: number == 2 and shutil.rmtree(data))
    assert train(small(tmp_path, data)).step == 15 and not data.exists()


@pytest.mark.parametrize("most", [0, 1, 100])
def test_a_write_that_ends_short_leaves_the_old_file_and_nothing_else(tmp_path, most):
    path = tmp_path / "a.bin"
    path.write_bytes(b"kept")
    with full_disk(most), pytest.raises(OSError, match=r"File too large: '.*a\.bin'$"):
        write_atomically(path, bytes(101))
    assert path.read_bytes() == b"kept" and left(tmp_path) == {"a.bin"}
    write_atomically(path, bytes(101))
    assert path.read_bytes() == bytes(101)


def test_what_a_killed_write_left_is_overwritten(tmp_path):
    path, part = tmp_path / "a.bin", tmp_path / ".a.bin.part"
    part.write_bytes(bytes(1000))
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and left(tmp_path) == {"a.bin"}


def test_writers_of_one_file_take_turns(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 100_000 for number in range(4)]

    def write(content):
        for _ in range(5):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(write, contents))
    assert path.read_bytes() in contents and left(tmp_path) == {"a.bin"}


@pytest.mark.long
def test_a_disk_that_is_really_full(run_in, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        (disk / "filler").write_bytes(bytes(60 * 1024))
        for command in ("train", "export", "figures"):
            status, lines = run_in(command, disk)
            assert status == 1 and len(lines) == 1, lines
            assert "No space left on device" in lines[0] and str(disk) in lines[0]
        assert left(disk) == {"filler"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)
