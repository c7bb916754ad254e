"""Random calls: the op against the reference, and the fuzzer against planted faults."""

from __future__ import annotations

import os
import secrets

import fuzz
import pytest
import torch
from fuzz_calls import random_call
from fuzz_check import check
from torch import Tensor

import softraster


def try_calls(seeds, draw=softraster.draw_segments, cuda=False):
    """Make the calls of the seeds; fail with the first that gives what it must not."""
    for seed in seeds:
        call = random_call(seed)
        try:
            check(call, draw, cuda)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{call}") from error


def new_seeds(calls):
    first = secrets.randbelow(2**40)
    return range(first, first + calls)


def test_random_calls_agree_with_the_reference_or_raise():
    try_calls(new_seeds(2000))


@pytest.mark.long
def test_many_random_calls_agree_with_the_reference_or_raise():
    try_calls(new_seeds(50_000))


def test_random_calls_of_the_emulated_kernels_agree_with_the_reference():
    try_calls(new_seeds(60), fuzz.on_emulator(sanitize=False), cuda=True)


@pytest.mark.cuda
def test_random_calls_on_the_gpu_agree_with_the_reference():
    try_calls(new_seeds(2000), fuzz.on_cuda(), cuda=True)


def with_grads(change):
    """A fault in the gradients only: those to segments are changed."""

    def draw(segments, **arguments):
        if isinstance(segments, Tensor) and segments.requires_grad:
            segments = segments * 1.0
            segments.register_hook(change)
        return softraster.draw_segments(segments, **arguments)

    return draw


def with_canvas(change):
    return lambda **arguments: change(softraster.draw_segments(**arguments))


def accept_anything(**arguments):
    try:
        return softraster.draw_segments(**arguments)
    except ValueError:
        return torch.zeros(())


def draw_a_little_beside(segments, **arguments):
    moved = segments + 1e-4 if isinstance(segments, Tensor) else segments
    return softraster.draw_segments(moved, **arguments)


def forget_the_last(segments, softness, **arguments):
    if isinstance(softness, Tensor) and softness.dim() and softness.shape[-1] > 8:
        softness = torch.cat([softness[..., :-1], softness[..., :1]], -1)
    return softraster.draw_segments(segments, softness, **arguments)


def learn_twice_beside_nan(composite="sum", **arguments):
    def twice(grad):
        return torch.where(grad.isnan().flatten(-2).any(-1)[..., None, None], 2 * grad, grad)

    draw = softraster.draw_segments if composite == "sum" else with_grads(twice)
    return draw(**arguments, composite=composite)


FAULTS = {
    "a result of 1.001": with_canvas(lambda canvas: canvas * 1.001),
    "another dtype": with_canvas(lambda canvas: canvas.float()),
    "a NaN that leaks": with_canvas(lambda canvas: canvas + 0 * canvas.sum()),
    "a NaN that is drawn as nothing": with_canvas(lambda canvas: canvas.nan_to_num(0)),
    "a gradient of 1.001": with_grads(lambda grad: grad * 1.001),
    "a gradient's NaN that leaks": with_grads(lambda grad: grad + 0 * grad.sum()),
    "a gradient that is NaN in one place": with_grads(
        lambda grad: grad.index_fill(-1, torch.tensor([3]), torch.nan)
    ),
    "another gradient beside a NaN": learn_twice_beside_nan,
    "no ValueError": accept_anything,
    "a line beside its place": draw_a_little_beside,
    "a softness from elsewhere": forget_the_last,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    with pytest.raises(AssertionError, match="draw_segments"):
        try_calls(range(1000), FAULTS[fault])


def test_the_seed_makes_the_call_again():
    for seed in range(50):
        assert str(random_call(seed)) == str(random_call(seed))


def test_a_failure_is_reported_with_the_seed_of_its_call(capsys, monkeypatch):
    # A dict is no function: the first call that should draw fails.
    result = fuzz.run(40, 0, make_draw=dict, quiet=True)
    assert "TypeError: 'dict' object is not callable" in result.failure
    monkeypatch.setattr(fuzz, "run", lambda *_: result)
    assert fuzz.main(["--calls", "40", "--seed", "0"]) == 1
    assert f"random_call({result.seed})" in capsys.readouterr().out


def test_a_process_that_dies_is_a_failure_with_the_seed_of_its_call():
    result = fuzz.run(10, 77, make_draw=os.abort, quiet=True)
    assert (result.seed, result.failure) == (77, "The process ended with SIGABRT.")
