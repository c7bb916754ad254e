"""The device that a test runs on: the CPU and, where there is one, a GPU. Without one, a skip.

And the CUDA kernels on the CPU, compiled when the first test asks for them; and --long, without
which the tests marked long are skipped.
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


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config, items):
    """Skip what is marked cuda where there is no GPU, and what is marked long without --long."""
    skips = {}
    if not torch.cuda.is_available():
        skips["cuda"] = pytest.mark.skip(reason="needs a GPU")
    if not config.getoption("--long"):
        skips["long"] = pytest.mark.skip(reason="takes minutes: pytest --long")
    for item in items:
        for marker, skip in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(skip)
