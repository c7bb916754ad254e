"""The same bits whatever was done before, in any number of threads, and as they were recorded.

Runs one after the other, numbers of threads, compilers and vmap are test_op.py's; calls from
several places at once test_concurrency.py's.
"""

import json

import pytest
import recorded_bits
import torch
from cases import MODES, NAMED, Scene
from recorded_bits import COMMAND, RECORD, SCENES

import softraster

modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode)))


def matrix_products():
    x = torch.rand(300, 300, requires_grad=True)
    (x @ x).square().sum().backward()


def drawings_of_other_sizes():
    for mode in MODES:
        Scene(mode, (3, 17), size=(90, 33), dtype=torch.float64, seed=4).passes()


def memory_full_of_nan():
    """Of all sizes that an output or a scratch buffer may have: what follows gets it as it is."""
    held = [torch.full((2**power,), torch.nan) for power in range(22) for _ in range(4)]
    held.append(torch.full((16, 20, 4), torch.nan))
    del held


def a_call_that_raises():
    with pytest.raises(ValueError, match="softness"):
        softraster.draw_segments(torch.rand(2, 4), -1.0, 8)


def a_canvas_of_nan():
    for mode in MODES:
        scene = Scene(mode, (3, 17))
        with torch.no_grad():
            scene.tensors[0][1] = torch.nan
        assert scene.passes()[0][1].isnan().all()


def other_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(before % 2 + 1)
    drawings_of_other_sizes()
    torch.set_num_threads(before)


@modes
@pytest.mark.parametrize(
    "other_work",
    [
        matrix_products,
        drawings_of_other_sizes,
        memory_full_of_nan,
        a_call_that_raises,
        a_canvas_of_nan,
        other_threads,
    ],
)
def test_other_work_before_a_call_changes_no_bits(mode, other_work):
    scene = Scene(mode, (16, 20))
    expected = scene.passes()
    other_work()
    assert all(torch.equal(a, b) for a, b in zip(scene.passes(), expected, strict=True))


@pytest.fixture(scope="module")
def recorded():
    """What is recorded for this machine."""
    record = json.loads(RECORD.read_text())
    machine = recorded_bits.machine()
    if machine not in record["bits"]:
        pytest.skip(f"no bits are recorded for {machine}: {COMMAND} --add")
    return record["inputs"], record["bits"][machine]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SCENES)
def test_bits_are_as_recorded(name, threads, recorded):
    inputs, bits = recorded
    assert name in bits, f"the scene {name!r} is not recorded: {COMMAND}"
    if recorded_bits.inputs_of(name) != inputs[name]:
        pytest.fail(f"the inputs of the scene {name!r} changed, not what is drawn of them")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = recorded_bits.bits_of(name)
    finally:
        torch.set_num_threads(before)
    changed = [
        f"{mode}: {part}"
        for mode, hashes in got.items()
        for part, a, b in zip(("canvas", "gradients"), hashes, bits[name][mode], strict=True)
        if a != b
    ]
    assert not changed, (
        f"the scene {name!r} is not as recorded for {recorded_bits.machine()} in {changed}."
        f" If that was meant: {COMMAND}"
    )


def test_the_recorded_scenes_are_those_that_there_are():
    record = json.loads(RECORD.read_text())
    assert record["bits"] and all(list(x) == list(SCENES) for x in record["bits"].values())
    assert set(NAMED) - set(SCENES) == {"nothing to draw", "empty batch"}


def test_the_hashes_see_one_last_bit(monkeypatch):
    bits = recorded_bits.bits_of("slanted")
    draw = softraster.draw_segments

    def with_a_nudged_pixel(*args, **options):
        canvas = draw(*args, **options)
        pixel = canvas.detach().flatten()[100]
        up = torch.zeros_like(canvas).flatten()
        up[100] = torch.nextafter(pixel, torch.ones_like(pixel)) - pixel
        return canvas + up.reshape(canvas.shape)

    def with_nudged_gradients(segments, *args, **options):
        segments.register_hook(lambda grad: torch.nextafter(grad, grad + 1))
        return draw(segments, *args, **options)

    for function, changes in ((with_a_nudged_pixel, 0), (with_nudged_gradients, 1)):
        monkeypatch.setattr(softraster, "draw_segments", function)
        for mode, got in recorded_bits.bits_of("slanted").items():
            assert got[changes] != bits[mode][changes], mode
            assert got[1 - changes] == bits[mode][1 - changes], mode
