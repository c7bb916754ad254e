"""Processes that train together, for tests: started as torchrun starts them, but quicker.

They are forked from a server that has imported what they need, and has computed nothing.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from handwriting import checkpoint as checkpoints

_PRELOADED = ["ranked_runs", "handwriting.train", "handwriting.train_lines", "handwriting.cli"]
# Imported when first used, which takes most of the time of a small run.
_PRELOADED += ["torch.utils.tensorboard", "safetensors.torch", "tqdm", "filelock", "cv2"]
_PRELOADED += ["torch.nn.parallel", "torch.distributed"]


def run_ranks(count, program, *arguments, seconds=300):
    """Call program(*arguments), of an importable module, in `count` processes that know each other.

    Returns [(exit status, stdout, stderr)]. None is left behind.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        outputs = [
            [Path(folder, f"{name}{rank}") for name in ("out", "err")] for rank in range(count)
        ]
        processes = [
            context.Process(
                target=_be_a_rank,
                args=({**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                      outputs[rank], program, arguments),
            )
            for rank in range(count)
        ]  # fmt: skip
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join(seconds)
        finally:
            for process in processes:
                process.kill()
                process.join()
        return [
            (process.exitcode, *(path.read_text() for path in paths))
            for process, paths in zip(processes, outputs, strict=True)
        ]


def _be_a_rank(environment, outputs, program, arguments):
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in zip((sys.stdout, sys.stderr), outputs, strict=True):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream.fileno())
    torch.set_num_threads(1)
    sys.exit(program(*arguments))


def assert_same_losses(got, wanted, first=1e-5, most=1e-2, floor=0.0):
    """That the losses of two runs, step by step, differ by rounding only.

    Training makes differences grow, by a factor of two and three a step as measured: so `first` is
    what the first step may differ by, each next one by twice that, but by no more than `most`.
    Losses near 0 may differ by `floor` besides.
    """
    for step, (loss, other) in enumerate(zip(got, wanted, strict=True)):
        allowed = min(first * 2**step, most) * abs(other) + floor
        assert abs(loss - other) <= allowed, (step, loss, other)


def assert_same_but_for_rounding(path, other):
    """That two checkpoints of runs with seed 0 have nearly the same weights.

    Adam makes much of the rounding of gradients near 0, so each tensor is judged as a whole: the
    runs ended much nearer to each other than either is to where it began. That gradients are the
    same is for `gradients` to show.
    """
    got, wanted = (checkpoints.load(file) for file in (path, other))
    assert got.training["step"] == wanted.training["step"]
    torch.manual_seed(0)
    start = checkpoints.build(wanted.config).state_dict()
    for name, weight in wanted.weights.items():
        way = (weight - start[name]).norm()
        assert way > 0, name
        assert (got.weights[name] - weight).norm() < 0.1 * way, name


def gradients(path, model, parts):
    """Save the losses of some batches, and their gradients, of a new model of that name.

    In float64: a new model's points lie on each other, where rounding moves them over kinks.
    """
    from handwriting.learner import Learner
    from handwriting.losses import pixel_loss
    from handwriting.ranks import ranks
    from handwriting.renderers import soft_renderer
    from handwriting.train import TrainConfig

    with ranks() as team:
        torch.manual_seed(0)
        net = checkpoints.build(TrainConfig(model=model, units=8).model_config()).double()
        draw = soft_renderer("sum")
        learner, found = Learner(net, parts), []
        # The last but one leaves a rank without any.
        for count in (10, 13, 1, 13):
            images = (torch.rand(count, 28, 28) > 0.9).double()
            labels = torch.randint(10, (count,))

            def losses(part, images=images, labels=labels):
                strokes = learner(images[part], labels[part])
                return {"mse": pixel_loss(draw(strokes), images[part])}

            net.zero_grad()
            (loss,) = team.sum([learner.backward(count, losses)["mse"].item()])
            found += [torch.tensor(loss), *(weight.grad.clone() for weight in net.parameters())]
        if team.first:
            torch.save(found, path)


def train_all(writers, lines):
    """Train each of the configs `writers`, then a small line model."""
    from handwriting.models import line_model
    from handwriting.ranks import ranks
    from handwriting.train import train
    from handwriting.train_lines import train_line_model

    line_model._CHANNELS = 1
    with ranks() as team:
        if not team.first:
            team.follow()
            return
        with team.leading():
            for config in writers:
                team.call(train, config)
            team.call(train_line_model, lines)


def _strike(number, step):
    """Have the second process send itself a signal before that step, counted from 0."""
    from handwriting import train

    advance = train._WriterRun.advance

    def struck(run):
        if run.step == step and run.team.rank == 1:
            os.kill(os.getpid(), number)
        return advance(run)

    train._WriterRun.advance = struck


def train_until_stopped(timed, config):
    """Train with a time limit, then until the second process is told to stop in step 5."""
    from handwriting import running
    from handwriting.ranks import ranks
    from handwriting.train import train

    running.FETCH_EVERY = 2
    with ranks():
        first = train(timed)
        _strike(signal.SIGTERM, 4)
        result = train(config)
    print("stopped", first.step, first.signal, result.step, result.signal)


def train_until_killed(arguments):
    """Train by the command line, saving often, until the second process is killed in step 6."""
    from handwriting import running, train
    from handwriting.cli import main

    running.FETCH_EVERY = 2
    usual = train.TrainConfig.with_defaults
    train.TrainConfig.with_defaults = lambda config: replace(usual(config), save_every=1e-9)
    _strike(signal.SIGKILL, 5)
    return main(arguments)


def climb(name, scale, config):
    """Do the experiments of a scale that goes by that name."""
    from handwriting import ladder
    from handwriting.experiments import run_experiments

    ladder.SCALES[name] = scale
    print("ended with", run_experiments(config).signal)
