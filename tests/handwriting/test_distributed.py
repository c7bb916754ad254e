"""Training in several processes: they do what one does, stop together, and go on in turn."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from ranked_runs import (
    assert_same_but_for_rounding,
    assert_same_losses,
    climb,
    gradients,
    run_ranks,
    train_all,
    train_until_killed,
    train_until_stopped,
)
from training_runs import logged, small, with_everything

from handwriting import checkpoint as checkpoints
from handwriting import ladder, resuming
from handwriting.experiments import RESULTS_NAME, ExperimentsConfig
from handwriting.learner import Learner
from handwriting.models import line_model
from handwriting.models.writer import Writer, WriterConfig
from handwriting.ranks import LostRankError, Ranks, cut, naming_the_lost
from handwriting.train import train
from handwriting.train_lines import LineTrainConfig, train_line_model

for module in ("cv2", "tensorboard", "safetensors", "tqdm", "filelock"):
    pytest.importorskip(module)
pytestmark = [
    pytest.mark.usefixtures("thinned_cache"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed"),
]

# Of the 40 digits of data_dir: the last step of an epoch has one, and so a rank with none.
UNEVEN = 13
STEPS = 4  # in an epoch


@pytest.fixture
def config(tmp_path, data_dir):
    """A run with uneven batches."""
    return dataclasses.replace(small(tmp_path, data_dir), batch_size=UNEVEN)


@pytest.fixture
def lines(tmp_path):
    """A run of the line model on uneven batches."""
    return LineTrainConfig(tmp_path / "lines", images=25, batch_size=5, workers=1, device="cpu")


def assert_same_run(one, other, tags):
    """That two folders hold runs that differ by rounding only, at every step."""
    for tag in tags:
        (steps, losses), (_, wanted) = (
            zip(*logged(path, tag), strict=True) for path in (one, other)
        )
        assert steps == tuple(range(1, len(wanted) + 1)), tag
        assert_same_losses(losses, wanted, floor=1e-7)
    assert_same_but_for_rounding(*(path / checkpoints.CHECKPOINT_NAME for path in (one, other)))


@pytest.mark.parametrize("model", ["writer", "ensemble"])
def test_two_processes_find_the_gradients_of_one(model, tmp_path):
    gradients(tmp_path / "one", model, 1)
    wanted = torch.load(tmp_path / "one")
    for parts in (1, 2):
        finished = run_ranks(2, gradients, tmp_path / "two", model, parts)
        assert [status for status, _, _ in finished] == [0, 0], finished
        for got, gradient in zip(torch.load(tmp_path / "two"), wanted, strict=True):
            assert (got - gradient).norm() <= 1e-9 * gradient.norm()


def test_two_processes_learn_what_one_does(config, lines, tmp_path, monkeypatch):
    ensemble = dataclasses.replace(
        with_everything(config), dropout=0.0, turning_weight=0.0, composite="sum", accumulate=2
    )
    writer = dataclasses.replace(ensemble, model="writer", out=tmp_path / "writer", accumulate=1)
    (first, said, err), (second, nothing, _) = run_ranks(2, train_all, [writer, ensemble], lines)
    assert (first, second) == (0, 0), err
    assert said.count("all steps done") == 3 and nothing == ""
    for config, alone in ((writer, tmp_path / "w1"), (ensemble, tmp_path / "e1")):
        train(dataclasses.replace(config, out=alone))
        tags = ("mse/train", "loss/samples", "loss/length", "loss/blurred")
        assert_same_run(config.out, alone, tags)
        assert logged(config.out, "mse/test")[-1][0] == 3 * STEPS
        held = checkpoints.load(config.out / checkpoints.CHECKPOINT_NAME).training["machine"]
        assert held["processes"] == 2
    monkeypatch.setattr(line_model, "_CHANNELS", 1)
    train_line_model(dataclasses.replace(lines, out=tmp_path / "l1"))
    assert_same_run(lines.out, tmp_path / "l1", ["loss/train"])


def test_processes_stop_together_and_another_number_goes_on(config, tmp_path):
    unbroken = dataclasses.replace(config, out=tmp_path / "unbroken")
    train(unbroken)
    train(dataclasses.replace(config, epochs=1))  # begun by one process
    timed = dataclasses.replace(config, minutes=1e-9, out=tmp_path / "timed")
    for status, out, err in run_ranks(2, train_until_stopped, timed, config):
        assert status == 0, err
        # They agree on it after an even number of steps.
        assert out.splitlines()[-1] == f"stopped 0 None 6 {signal.SIGTERM.value}"
    path = config.out / checkpoints.CHECKPOINT_NAME
    assert checkpoints.load(path).training["step"] == 6
    time.sleep(1)  # TensorBoard reads a folder's files in the order of the second they began in
    train(config)
    assert_same_run(config.out, unbroken.out, ["mse/train"])


def test_a_killed_process_ends_the_run_with_a_line_and_a_checkpoint(config, tmp_path):
    arguments = ["train", "--out", str(config.out), "--data", str(config.data_dir)]
    arguments += ["--epochs", "3", "--batch-size", str(UNEVEN), "--units", "8", "--device", "cpu"]
    (status, _, err), (other, _, _) = run_ranks(2, train_until_killed, arguments)
    assert (status, other) == (1, -signal.SIGKILL), err
    path = config.out / checkpoints.CHECKPOINT_NAME
    assert err.splitlines()[-1].endswith(
        f": another process has ended, or does not answer; {path} keeps step 4, "
        "the same command resumes"
    )
    assert "Traceback" not in err
    assert checkpoints.load(path).training["step"] == 4
    unbroken = dataclasses.replace(config, out=tmp_path / "unbroken")
    train(unbroken)
    time.sleep(1)  # as above
    assert train(config).step == 3 * STEPS
    assert_same_run(config.out, unbroken.out, ["mse/train"])


@pytest.mark.slow
def test_torchrun_told_to_stop_leaves_a_checkpoint(config):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "handwriting", "train", "--out", str(config.out)]
    command += ["--data", str(config.data_dir), "--epochs", "100000", "--batch-size", str(UNEVEN)]
    command += ["--units", "8", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("epoch 2 of"):
                    process.send_signal(signal.SIGTERM)
        finally:
            process.kill()
    assert sum(line.startswith("epoch 1 of 100000") for line in lines) == 1
    assert lines[-1].startswith("Interrupted at step")
    step = checkpoints.load(config.out / checkpoints.CHECKPOINT_NAME).training["step"]
    assert step >= 2 * STEPS and f"step {step:,};" in lines[-1]


@pytest.mark.long
def test_experiments_in_two_processes_have_the_figures_of_one(tmp_path, people_dir, monkeypatch):
    small = {"units": 4, "batch_size": 13, "epochs": 2}
    lines = {"images": 8, "batch_size": 4, "workers": 0}
    tiny = ladder.Scale("next to nothing", 1, 15, lines, {"writer": small, "ensemble": small})
    monkeypatch.setitem(ladder.SCALES, "tiny", tiny)
    results = []
    for count in (2, 1):
        config = ExperimentsConfig(
            "tiny", ("1", "4"), out=tmp_path / f"{count}", data_dir=people_dir, device="cpu"
        )
        (status, said, err), *others = run_ranks(count, climb, "tiny", tiny, config)
        assert status == 0 and said.endswith("ended with None\n"), err
        assert all(other[:2] == (0, "ended with None\n") for other in others)
        results.append(json.loads((config.folder / RESULTS_NAME).read_text()))
    two, one = results
    assert two["line_model"]["lines"] == one["line_model"]["lines"] == 8
    assert two["runs"].keys() == one["runs"].keys() == {"1", "4"}
    for rung, seeds in one["runs"].items():
        got, wanted = two["runs"][rung]["0"], seeds["0"]
        assert got["steps"] == wanted["steps"] and got["processes"] == 2
        assert got["test_mse"] == pytest.approx(wanted["test_mse"], rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_parts_are_even_and_make_up_the_whole(count, parts):
    items = list(range(count))
    pieces = [items[cut(count, number, parts)] for number in range(parts)]
    assert [item for piece in pieces for item in piece] == items
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_each_process_has_the_gpu_of_its_number(monkeypatch):
    second = Ranks(9, 16, 1)
    assert second.device("cuda") == "cuda:1" and second.device("cpu") == "cpu"
    assert Ranks(0, 1).device("cuda:3") == "cuda:3" and Ranks(0, 1).device(None) is None
    with pytest.raises(ValueError, match=r"device must be cuda or cpu for several.*'cuda:0'"):
        second.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert second.device(None) == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert second.device(None) == "cpu"


def test_what_only_one_process_can_train_is_refused_to_more(config, monkeypatch):
    monkeypatch.setattr(resuming, "joined", lambda: Ranks(1, 2))

    class Lonely(resuming.KeptRun):
        subject = "a hermit"
        advance = measure = None

    Lonely.__abstractmethods__ = frozenset()
    with pytest.raises(ValueError, match="a hermit is trained by one process, got 2"):
        resuming.train_in_folder(config, lambda c: Lonely(c, WriterConfig(units=1)))


def test_a_process_with_other_digits_is_refused(config, monkeypatch):
    run = resuming.KeptRun
    monkeypatch.setattr(Ranks, "share", lambda self, call: {"digits": "40 digits"})
    other = type("Other", (run,), {"sources": {"digits": "41 digits"}, "advance": None})
    other.__abstractmethods__ = frozenset()
    with pytest.raises(ValueError, match=r"process 0 has .*41 digits.*, the first .*40 digits"):
        other(config, WriterConfig(units=1)).check_shared()


def test_a_lost_process_is_named_and_other_errors_are_left_as_they_are():
    with pytest.raises(LostRankError, match="another process has ended"), naming_the_lost():
        raise RuntimeError("[/src/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(LostRankError), naming_the_lost():
        raise torch.distributed.DistNetworkError("timed out")
    with pytest.raises(RuntimeError, match="out of memory") as caught, naming_the_lost():
        raise RuntimeError("out of memory")
    assert not isinstance(caught.value, LostRankError)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    model = Writer(WriterConfig(units=6))
    images, labels = torch.rand(7, 28, 28), torch.arange(7)

    def losses(part):
        return {"a": learner(images[part], labels[part])[..., :2].square().mean()}

    gradients = []
    for parts in (1, 3, 20):
        learner = Learner(model, parts)
        model.zero_grad()
        loss = learner.backward(7, losses)["a"]
        gradients.append([loss, *(p.grad.clone() for p in model.parameters())])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-7)
