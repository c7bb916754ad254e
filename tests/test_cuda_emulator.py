"""The emulator of CUDA on the CPU: it computes what CUDA does, and finds planted bugs.

The kernels that it is for are test_cuda_kernels.py's.
"""

from __future__ import annotations

import numpy as np
import pytest
from cuda_emulator.replay import replay

ORDERS = (0, 1, 5, 11)


@pytest.mark.parametrize("order", ORDERS)
def test_a_compaction_by_ballots_and_barriers_keeps_the_order(emulator, order):
    emulator.set_order(order)
    columns = 3 * emulator.probe_threads
    numbers = np.random.default_rng(order).integers(-1, 2, (5, columns))
    out = np.reshape(emulator.compact(numbers.ravel().tolist(), columns), numbers.shape)
    for row, found in zip(numbers, out, strict=True):
        expected = np.flatnonzero(row)
        np.testing.assert_array_equal(found[: len(expected)], expected)
        assert (found[len(expected) :] == -1).all()


@pytest.mark.parametrize("order", ORDERS)
def test_warp_functions_are_cudas(emulator, order):
    emulator.set_order(order)
    numbers = np.random.default_rng(order).integers(1, 1000, (emulator.probe_threads // 32, 32))
    numbers[1] = 1
    numbers[2] *= 2
    got = np.reshape(emulator.warp_functions(numbers.ravel().tolist()), (-1, *numbers.shape))
    lane = np.arange(32)
    odd = numbers % 2
    everywhere = np.ones_like(lane)
    expected = [
        numbers[:, 7 * lane % 32],
        numbers[:, np.where(lane < 3, lane, lane - 3)],
        numbers[:, np.where(lane > 26, lane, lane + 5)] << 32,
        numbers[:, lane ^ 9],
        np.outer((odd << lane).sum(1), everywhere),
        np.outer((numbers == 1).any(1), everywhere),
        np.outer((numbers != 1).all(1), everywhere),
        [[bin(x).count("1") for x in row] for row in numbers],
        [[(x & -x).bit_length() for x in row.tolist()] for row in numbers],
        odd[:, lane ^ 1],
    ]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("true", [0, 1, 77, 128])
def test_votes_of_a_block_count_its_true_predicates(emulator, true):
    threads = emulator.probe_threads
    predicates = np.random.default_rng(true).permutation(np.arange(threads) < true)
    got = np.reshape(emulator.votes((5 * predicates).tolist()), (3, threads))
    assert (got == np.array([[true > 0], [true == threads], [true]])).all()


@pytest.mark.parametrize("order", ORDERS)
def test_atomics_lose_nothing(emulator, order):
    emulator.set_order(order)
    numbers = np.random.default_rng(order).integers(0, 2**31, 1000)
    expected = [numbers.sum(), numbers.max(), np.bitwise_or.reduce(numbers)]
    assert emulator.atomics(numbers.tolist()) == expected


def test_orders_are_permutations_of_threads_and_of_blocks(emulator):
    seen = []
    for order in ORDERS:
        emulator.set_order(order)
        turns = np.array(emulator.turns(7))
        assert sorted(turns) == list(range(turns.size))
        turns = turns.reshape(7, -1)
        seen.append((tuple(turns.argsort(0)[:, 0]), tuple(turns.argsort(1)[0])))
    blocks, threads = zip(*seen, strict=True)
    assert len(set(blocks)) == len(set(threads)) == len(ORDERS)


def test_launches_that_a_gpu_refuses_are_errors(emulator):
    assert emulator.try_launch(3, 1024, 48 << 10) == "no error: 3072 threads ran"
    assert emulator.try_launch(0, 64, 0).startswith("invalid configuration")
    for blocks, threads, shared in [(0, 64, 0), (1, 0, 0), (1, 1025, 0), (1, 32, (48 << 10) + 1)]:
        said = emulator.try_launch(blocks, threads, shared)
        assert said.startswith("invalid")
        assert said.endswith("0 threads ran")


def test_a_grid_has_at_most_max_blocks(emulator):
    emulator.set_max_blocks(3)
    assert emulator.try_launch(7, 64, 0) == "no error: 192 threads ran"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("bug", "message"),
    [
        ("return_before_barrier", "not every thread reaches.* waits in __syncthreads.* returned"),
        ("wait_in_two_functions", "two functions.*__syncthreads.*__syncthreads"),
        ("wait_for_half_a_warp", "not every thread reaches.*__shfl_xor_sync.*__syncthreads"),
        ("shuffle_with_half_a_mask", "calls __shfl_xor_sync without its whole warp"),
    ],
)
def test_a_barrier_that_not_every_thread_reaches_raises(emulator, bug, message, order):
    emulator.set_order(order)
    with pytest.raises(RuntimeError, match=message):
        getattr(emulator, bug)()
    assert emulator.try_launch(2, 128, 0) == "no error: 256 threads ran"


def test_a_missing_barrier_shows(emulator):
    numbers = list(range(emulator.probe_threads))
    wrong = []
    for order in ORDERS:
        emulator.set_order(order)
        wrong.append(emulator.reverse_without_barrier(numbers) != numbers[::-1])
    assert any(wrong)


def test_a_sum_in_any_order_shows(emulator):
    numbers = np.random.default_rng(0).random(1000).tolist()
    sums = set()
    for order in ORDERS:
        emulator.set_order(order)
        sums.add(emulator.sum_in_any_order(numbers))
    assert len(sums) > 1


def test_sanitizers_see_a_write_beyond_shared_memory(sanitized, tmp_path):
    results, printed = replay(sanitized, [("write_beyond_shared_memory", ())], tmp_path)
    assert results is None
    assert "heap-buffer-overflow" in printed
    assert "one_too_many" in printed
