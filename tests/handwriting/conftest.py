"""Digits that the tests make themselves; nothing is downloaded, no cache outlives a test run."""

import gzip

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The matrices here are tiny: on a busy machine a second thread makes them far slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder of IDX files: 40 digits to train on and 20 to test with, crosses of two bars."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = np.zeros((count, 28, 28), np.uint8)
        for image in images:
            y, x, height, width = rng.integers((4, 4, 12, 12), (8, 8, 18, 18))
            image[y : y + height, x + width // 2 : x + width // 2 + 3] = 255
            image[y + height // 3 : y + height // 3 + 3, x : x + width] = 255
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture(scope="session")
def people_dir(data_dir, tmp_path_factory):
    """The folder `data_dir` with pendigits beside MNIST: 30 digits to learn from, 20 to test with.

    Each class is a path of its own, wobbling from digit to digit.
    """
    folder = tmp_path_factory.mktemp("people")
    for file in data_dir.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rng = np.random.default_rng(1)
    classes = rng.integers(10, 91, (10, 8, 2))
    for name, count in (("pendigits.tra", 30), ("pendigits.tes", 20)):
        labels = np.arange(count) % 10
        points = classes[labels] + rng.integers(-5, 6, (count, 8, 2))
        table = np.column_stack((points.reshape(count, 16), labels))
        np.savetxt(folder / name, table, fmt="%3d", delimiter=",")
    return folder


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """The cache folder of `thinned_cache`."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def thinned_cache(cache_dir, monkeypatch):
    """Keep thinned images in a folder of the test run."""
    monkeypatch.setenv("SOFTRASTER_CACHE", str(cache_dir))
    monkeypatch.delenv("SOFTRASTER_DATA", raising=False)
