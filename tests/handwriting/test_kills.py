"""Whatever kills training or an export, and when: it goes on to the same weights, the same bytes.

What a kill leaves behind is sound, is used or removed, and does not pile up: killing.py checks it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("tensorboard", "safetensors", "tqdm", "filelock", "cv2", "h5py"):
    pytest.importorskip(module)
pytestmark = [
    pytest.mark.usefixtures("thinned_cache"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

SCRIPT = Path(__file__).parents[1] / "killing.py"


def killed(kinds, data, folder, kills, seed):
    """What killing.py said of each kind of work."""
    command = [sys.executable, str(SCRIPT), kinds, str(data), str(folder), str(kills), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(said) == len(kinds.split(","))
    assert all(one["killed"] == kills and one["finished"] >= 1 for one in said)
    return said


def test_a_few_kills_change_nothing(data_dir, tmp_path):
    killed("train,export", data_dir, tmp_path, kills=4, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["train", "export"])
def test_a_hundred_kills_change_nothing(kind, data_dir, tmp_path):
    (said,) = killed(kind, data_dir, tmp_path, kills=100, seed=0)
    assert said["kept"] >= 20  # after so many there was something to go on from
