"""Kills training or an export at random moments, starts it again, and compares what comes of it.

    python tests/killing.py KINDS DATA FOLDER KILLS SEED

A script, because it forks: this process has imported all that the work will, but computed nothing
and started no thread, so a go costs a fraction of a second. Half of the kills come at a random
time, half before a random one of the file operations, which are rare, but where most can go wrong.
KINDS are train or export or train,export; KILLS are of each. Prints what happened as JSON, a line
for each; ends with an AssertionError, and status 1, where anything is not as it must be.
"""

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import cv2  # noqa: F401
import filelock  # noqa: F401
import h5py  # noqa: F401
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo  # which optimizers do
import torch.utils.tensorboard
import tqdm  # noqa: F401
from training_runs import assert_same_bits, small, with_everything

from handwriting import checkpoint as checkpoints
from handwriting import export as exporting
from handwriting import train as training
from handwriting.files import unpack_npz
from handwriting.formats import load_strokes

# What changes names of files, or begins to change what is in them.
OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


class Training:
    """A writer with all options, saved after each step."""

    def __init__(self, data, folder):
        self.folder, self.data, self.base = folder / "full", data, folder

    def go(self):
        config = with_everything(small(self.base, self.data))
        training.train(dataclasses.replace(config, model="writer", save_every=1e-9))

    def check(self):
        """Whether there is a checkpoint; each that there is must be sound."""
        names = {name for name in os.listdir(self.folder) if not name.startswith("events.")}
        kept = checkpoints.CHECKPOINT_NAME
        assert names <= {kept, f".{kept}.part", ".lock"}, names
        if kept not in names:
            return False
        assert 0 <= checkpoints.load(self.folder / kept).training["step"] <= 15
        return True

    def result(self):
        names = {name for name in os.listdir(self.folder) if not name.startswith("events.")}
        assert names == {checkpoints.CHECKPOINT_NAME, ".lock"}, names
        return checkpoints.load(self.folder / checkpoints.CHECKPOINT_NAME)

    def compare(self, result, wanted):
        assert result.training["step"] == wanted.training["step"] == 15
        assert_same_bits(self.folder / checkpoints.CHECKPOINT_NAME, wanted)


class Exporting:
    """An export of the tracer's drawings, in parts of ten digits."""

    def __init__(self, data, folder):
        self.folder, self.data = folder / "exported", data
        self.out, self.parts = self.folder / "a.h5", self.folder / ".a.h5.parts"
        exporting._PART = 10

    def go(self):
        exporting.export(exporting.ExportConfig(None, self.out, self.data, tracer=True))

    def check(self):
        """Whether there are any parts yet; whatever there is must be sound."""
        names = set(os.listdir(self.folder))
        assert names <= {"a.h5", ".a.h5.part", self.parts.name}, names
        if "a.h5" in names:
            assert len(load_strokes(self.out)) == 60
        if self.parts.name not in names:
            return "a.h5" in names
        made = [name for name in os.listdir(self.parts) if not name.startswith(".")]
        hidden = set(os.listdir(self.parts)) - set(made)
        assert len(made) <= 6 and len(hidden) <= 1 + 6, (made, hidden)
        for name in made:
            assert len(unpack_npz(self.parts / name)["strokes"]) == 10
        return bool(made)

    def result(self):
        assert os.listdir(self.folder) == ["a.h5"], os.listdir(self.folder)
        return self.out.read_bytes()

    def compare(self, result, wanted):
        assert result == wanted


def start(work, fatal=None):
    """A child that does the work; before file operation `fatal` it kills itself."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        torch.set_num_threads(1)
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in OPERATIONS and str(work.folder) in str(arguments[0]):
                count += 1
                if count == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work.go()
        if fatal is None:
            work.folder.with_name("operations").write_text(str(count))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(child, seconds):
    """Let a child be for so long, then kill it: whether it had done its work before."""
    limit = time.monotonic() + seconds
    done, status = 0, 0
    while not done and time.monotonic() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def main(kind, data, folder, kills, seed):
    """Kill so often, finish what is begun, and say what happened."""
    chance = random.Random(seed)
    work = {"train": Training, "export": Exporting}[kind](data, folder)
    folder.mkdir(parents=True)
    assert ended(start(work), 600)  # thins digits and trains the reader: not to be measured
    shutil.rmtree(work.folder)
    began = time.monotonic()
    assert ended(start(work), 600)
    took = time.monotonic() - began
    wanted = work.result()
    operations = int(work.folder.with_name("operations").read_text())
    shutil.rmtree(work.folder)
    killed, finished, kept = 0, 0, 0
    while True:
        at_time = chance.random() < 0.5
        fatal = None if at_time else chance.randrange(1, operations + 1)
        seconds = chance.uniform(0, took) if at_time else 600
        if killed == kills:
            fatal, seconds = None, 600
        if ended(start(work, fatal), seconds):
            finished += 1
            work.compare(work.result(), wanted)
            shutil.rmtree(work.folder)
            if killed == kills:
                break
        else:
            killed += 1
            kept += work.folder.exists() and work.check()
    print(json.dumps({"killed": killed, "finished": finished, "kept": kept, "of": operations}))


if __name__ == "__main__":
    kinds, data, folder, kills, seed = sys.argv[1:]
    for kind in kinds.split(","):
        main(kind, Path(data), Path(folder) / kind, int(kills), int(seed))
