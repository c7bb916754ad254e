"""The device that a test runs on: the CPU and, where there is one, a GPU. Without one, a skip.

And the CUDA kernels on the CPU, compiled when the first test asks for them.
"""

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """Where the op under test runs; what is expected of it comes from the CPU."""
    return request.param


@pytest.fixture(scope="session")
def _emulator():
    from cuda_emulator.build import build, load

    return load(build())


@pytest.fixture
def emulator(_emulator):
    """The emulator's module, in its first order of threads and without a limit of blocks."""
    yield _emulator
    _emulator.set_order(0)
    _emulator.set_max_blocks(2**31 - 1)


@pytest.fixture(scope="session")
def sanitized():
    """The file of the module for cuda_emulator.replay."""
    from cuda_emulator.build import build

    return build(sanitize=True)


def pytest_collection_modifyitems(items):
    """Skip what is marked cuda where there is no GPU."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a GPU")
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(skip)
