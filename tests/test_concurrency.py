"""Calls from anywhere give the bits of a call alone: threads, forked workers, graphs, streams.

Alone means: first, in the main thread, with gradients by autograd.grad. Numbers are checked against
the reference in test_parity.py.
"""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from cases import MODES, Scene
from torch.utils.checkpoint import checkpoint

modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode)))
THREADS = 8


def same(got, expected):
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.fixture
def two_threads():
    """Two threads for each call, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_calls_from_8_threads_at_once(device, two_threads):
    """Each thread walks the scenes from another one on, while others draw in other modes."""
    shapes = [((6, 30), (28, 28)), ((1, 90), (70, 45)), ((3, 5), (12, 16))]
    scenes = [
        Scene(mode, shape, device, size=size, seed=seed)
        for seed, mode in enumerate(MODES)
        for shape, size in shapes
    ]
    expected = [scene.passes() for scene in scenes]
    barrier = threading.Barrier(THREADS, timeout=60)

    def work(thread):
        order = [(at + 3 * thread) % len(scenes) for at in range(len(scenes))]
        barrier.wait()
        return [at for at in order for _ in range(3) if not same(scenes[at].passes(), expected[at])]

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = list(pool.map(work, range(THREADS)))
    assert wrong == [[]] * THREADS


@modes
def test_one_scene_drawn_and_differentiated_by_8_threads_that_share_its_graph(mode, device):
    scene = Scene(mode, (4, 20), device)
    canvas, *expected = scene.passes()
    shared = scene.draw(*scene.tensors)
    assert torch.equal(shared, canvas)
    loss = shared.square().sum()
    barrier = threading.Barrier(THREADS, timeout=60)

    def work(_):
        barrier.wait()
        return same(torch.autograd.grad(loss, scene.tensors, retain_graph=True), expected)

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


FORK = """
import sys, torch
sys.path.insert(0, {tests!r})
from cases import MODES, Scene
from torch.utils.data import DataLoader, Dataset

class Passes(Dataset):
    def __len__(self):
        return len(MODES)
    def __getitem__(self, at):
        scene = Scene(MODES[at], (3, 70), size=(64, 48), seed=at)
        return [x.detach() for x in scene.passes()]

torch.set_num_threads(2)
alone = [Passes()[at] for at in range(len(Passes()))]  # in parallel: the pool of threads exists
loader = DataLoader(
    Passes(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=120
)
for epoch in range(2):
    drawn = list(loader)
    assert len(drawn) == len(alone)
    for got, expected in zip(drawn, alone):
        assert len(got) == len(expected) >= 3
        assert all(torch.equal(a, b) for a, b in zip(got, expected))
    again = [Passes()[at] for at in range(len(Passes()))]
    assert all(torch.equal(a, b) for x, y in zip(again, alone) for a, b in zip(x, y))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_forked_after_the_parent_has_drawn(request):
    script = FORK.format(tests=str(request.path.parent))
    # With a GPU, autograd itself refuses to run in a fork.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=600
    )
    assert done.returncode == 0, done.stderr


@modes
def test_inference_mode_and_no_grad(mode, device):
    scene = Scene(mode, (4, 20), device)
    expected = scene.draw(*scene.tensors)
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            canvas = scene.draw(*scene.tensors)
            made_here = scene.draw(*(x.clone() for x in scene.tensors))
        assert not canvas.requires_grad
        assert canvas.is_inference() == (without_gradients is torch.inference_mode)
        assert torch.equal(canvas, expected) and torch.equal(made_here, expected)
    with torch.inference_mode():
        tensors = [x.clone() for x in scene.tensors]
    assert torch.equal(scene.draw(*tensors), expected)  # inference tensors, out of that mode
    assert same(scene.passes()[1:], torch.autograd.grad(expected.square().sum(), scene.tensors))


class InnerGradient(torch.autograd.Function):
    """A layer whose forward differentiates a drawing, and whose backward differentiates another."""

    @staticmethod
    def forward(ctx, scene, *tensors):
        ctx.scene = scene
        ctx.save_for_backward(*tensors)
        with torch.enable_grad():
            inner = [x.detach().requires_grad_() for x in tensors]
            grads = torch.autograd.grad(scene.loss(*inner), inner)
        return tuple(g.clone() for g in grads)

    @staticmethod
    def backward(ctx, *weights):
        with torch.enable_grad():
            inner = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            loss = ctx.scene.loss(*inner)
            return None, *torch.autograd.grad(loss, inner)


@modes
def test_gradients_taken_within_a_custom_functions_passes(mode, device):
    scene = Scene(mode, (4, 20), device)
    _, *expected = scene.passes()
    inner = InnerGradient.apply(scene, *scene.tensors)
    assert same(inner, expected)
    assert same(torch.autograd.grad(sum(x.sum() for x in inner), scene.tensors), expected)


@modes
def test_a_gradient_through_two_drawings_is_that_of_one_after_the_other(mode, device):
    first, second = (Scene(mode, (4, 20), device, seed=seed) for seed in (0, 1))

    def moved(canvas):
        """The second scene's tensors, its segments moved by what the first drew."""
        canvas = canvas.reshape(4, -1)
        return [second.tensors[0] + 0.1 * canvas[:, :80].reshape(4, 20, 4), *second.tensors[1:]]

    got = torch.autograd.grad(second.loss(*moved(first.draw(*first.tensors))), first.tensors)
    cut = first.draw(*first.tensors).detach().requires_grad_()
    (to_canvas,) = torch.autograd.grad(second.loss(*moved(cut)), cut)
    expected = torch.autograd.grad(first.draw(*first.tensors), first.tensors, to_canvas)
    assert to_canvas.abs().max() > 0 and same(got, expected)


@modes
@pytest.mark.parametrize("use_reentrant", [False, True], ids=["", "reentrant"])
def test_checkpointing(mode, use_reentrant, device):
    scene = Scene(mode, (4, 20), device)
    expected = scene.passes()
    canvas = checkpoint(scene.draw, *scene.tensors, use_reentrant=use_reentrant)
    # The reentrant kind goes with backward() only.
    canvas.square().sum().backward()
    assert same([canvas, *(x.grad for x in scene.tensors)], expected)


@modes
def test_create_graph_and_retain_graph_change_no_bits(mode, device):
    scene = Scene(mode, (4, 20), device)
    _, *expected = scene.passes()
    loss = scene.loss(*scene.tensors)
    for options in ({"retain_graph": True}, {"create_graph": True}, {"retain_graph": True}, {}):
        assert same(torch.autograd.grad(loss, scene.tensors, **options), expected), options


@modes
def test_gradients_add_up_in_buffers_that_are_used_again(mode, device):
    scene = Scene(mode, (4, 20), device)
    _, *alone = scene.passes()
    scene.loss(*scene.tensors).backward()
    buffers = [x.grad for x in scene.tensors]
    scene.loss(*scene.tensors).backward()
    assert same([x.grad for x in scene.tensors], [2 * g for g in alone])
    optimizer = torch.optim.SGD(scene.tensors, lr=0.0)
    optimizer.zero_grad(set_to_none=False)
    scene.loss(*scene.tensors).backward()
    assert all(x.grad is buffer for x, buffer in zip(scene.tensors, buffers, strict=True))
    assert same(buffers, alone)


@modes
def test_gradients_go_into_views_of_one_flat_buffer(mode, device):
    scene = Scene(mode, (4, 20), device)
    _, *alone = scene.passes()
    sizes = [x.numel() for x in scene.tensors]
    flat = torch.zeros(sum(sizes) + 1, device=device)
    for x, part in zip(scene.tensors, flat[1:].split(sizes), strict=True):  # off any alignment
        x.grad = part.view_as(x)
    scene.loss(*scene.tensors).backward()
    assert flat[0] == 0 and torch.equal(flat[1:], torch.cat([g.flatten() for g in alone]))


@modes
def test_results_are_their_holders_own(mode, device):
    scene = Scene(mode, (4, 20), device)
    held = scene.passes()
    kept = [x.clone() for x in held]
    scene.passes()
    other = Scene(mode, (4, 20), device, seed=1)
    other.passes()
    assert same(held, kept)  # nobody wrote to them
    with torch.no_grad():
        for x in held:
            x.fill_(torch.nan)
    assert same(scene.passes(), kept)  # and nobody reads them


@modes
def test_an_input_changed_in_place_before_backward_is_an_error(mode, device):
    scene = Scene(mode, (4, 20), device)
    for x in scene.tensors:
        loss = scene.loss(*scene.tensors)
        with torch.no_grad():
            x.mul_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.cuda
def test_several_streams_at_once():
    scenes = [Scene(mode, (6, 200), "cuda", size=(130, 210)) for mode in MODES]
    expected = [scene.passes() for scene in scenes]
    streams = [torch.cuda.Stream() for _ in scenes]
    torch.cuda.synchronize()
    for _ in range(10):
        got = []
        for scene, stream in zip(scenes, streams, strict=True):
            with torch.cuda.stream(stream):
                got.append(scene.passes())
        torch.cuda.synchronize()
        for mode, a, b in zip(MODES, got, expected, strict=True):
            assert same(a, b), mode


@pytest.mark.cuda
def test_several_threads_each_with_its_stream():
    scenes = [Scene(mode, (6, 200), "cuda", size=(130, 210)) for mode in MODES]
    expected = [scene.passes() for scene in scenes]
    torch.cuda.synchronize()
    barrier = threading.Barrier(len(scenes), timeout=60)

    def work(scene):
        stream = torch.cuda.Stream()
        barrier.wait()
        with torch.cuda.stream(stream):
            results = [scene.passes() for _ in range(10)]
        stream.synchronize()
        return results

    with ThreadPoolExecutor(len(scenes)) as pool:
        for results, alone in zip(pool.map(work, scenes), expected, strict=True):
            assert all(same(result, alone) for result in results)
