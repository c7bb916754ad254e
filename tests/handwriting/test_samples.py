"""Collected strokes: what is written comes back, resampling by known answers, images by OpenCV."""

import json
import re

import numpy as np
import pytest
import torch

from handwriting.samples import (
    SampleError,
    load_samples,
    resample,
    sample_images,
    save_samples,
)


def drawing(*chains):
    """(P, 3) of pen-down chains of (x, y)."""
    return np.concatenate(
        [[(x, y, i == len(chain) - 1) for i, (x, y) in enumerate(chain)] for chain in chains]
    )


CROSS = drawing([(0.1, 0.5), (0.3, 0.5), (0.9, 0.5)], [(0.5, 0.3), (0.5, 0.7)])
HOOK = drawing([(0.2, 0.2), (0.2, 0.8), (0.5, 0.8)])


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_drawings_of_the_wanted_length_come_back_as_they_were(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    save_samples(path, [CROSS, CROSS[::-1] * (1, 1, 0)], [4, 7])
    loaded = load_samples(path, points=5)
    assert loaded.labels.tolist() == [4, 7] and loaded.source == str(path)
    assert loaded.strokes.dtype == torch.float32
    np.testing.assert_allclose(loaded.strokes[0], CROSS, atol=1e-7)
    np.testing.assert_allclose(loaded.strokes[1, :, :2], CROSS[::-1, :2], atol=1e-7)
    assert loaded.strokes[1, :, 2].tolist() == [0, 0, 0, 0, 1]  # the last is always lifted


def test_drawings_of_several_lengths_are_brought_to_one(tmp_path):
    path = tmp_path / "mine.json"
    save_samples(path, [CROSS, HOOK], [4, 1])
    loaded = load_samples(path, points=9)
    assert loaded.strokes.shape == (2, 9, 3)
    np.testing.assert_allclose(loaded.strokes[1], resample(HOOK, 9), atol=1e-7)
    with pytest.raises(ValueError, match="all input arrays must have the same shape"):
        save_samples(tmp_path / "mine.npz", [CROSS, HOOK], [4, 1])


def test_points_are_evenly_spaced_along_a_chain():
    even = resample(HOOK, 10)  # 0.9 long: 0.1 apart
    wanted = [(0.2, 0.2 + 0.1 * i) for i in range(7)] + [(0.2 + 0.1 * i, 0.8) for i in (1, 2, 3)]
    np.testing.assert_allclose(even[:, :2], wanted, atol=1e-12)
    assert even[:, 2].tolist() == [0] * 9 + [1]


def test_segments_are_shared_out_by_length_and_a_jump_takes_one():
    even = resample(CROSS, 8)  # 0.8 and 0.4 long: 4 and 2 segments of 0.2
    wanted = [(0.1, 0.5), (0.3, 0.5), (0.5, 0.5), (0.7, 0.5), (0.9, 0.5)]
    wanted += [(0.5, 0.3), (0.5, 0.5), (0.5, 0.7)]
    np.testing.assert_allclose(even[:, :2], wanted, atol=1e-12)
    assert even[:, 2].tolist() == [0, 0, 0, 0, 1, 0, 0, 1]


def test_taps_without_length_are_left_out():
    tapped = np.concatenate((drawing([(0.9, 0.9)]), HOOK, drawing([(0.1, 0.9), (0.1, 0.9)])))
    np.testing.assert_array_equal(resample(tapped, 6), resample(HOOK, 6))
    with pytest.raises(ValueError, match="nothing is drawn"):
        resample(drawing([(0.9, 0.9)], [(0.5, 0.5)]), 6)


def test_more_chains_than_fit_are_refused():
    with pytest.raises(ValueError, match="2 pen-down chains do not fit in 3 points"):
        resample(CROSS, 3)


def test_images_are_opencvs_lines_but_for_rounding():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    strokes = np.empty((30, 4, 3), np.float32)
    strokes[..., :2] = (rng.integers(3, 25, (30, 4, 2)) + 0.5) / 28  # pixel centres
    strokes[..., 2] = (0, 1, 0, 1)
    images = sample_images(torch.from_numpy(strokes)).numpy()
    assert set(np.unique(images)) == {0, 1}
    for image, points in zip(images, (strokes[..., :2] * 28).astype(int), strict=True):
        wanted = np.zeros((28, 28), np.uint8)
        for i in (0, 2):  # the jump from point 1 to point 2 is not drawn
            cv2.line(wanted, points[i].tolist(), points[i + 1].tolist(), 1)
        # Every pixel of the one has a pixel of the other beside it, and they count the same.
        for first, second in ((image, wanted), (wanted, image)):
            beside = cv2.dilate(second.astype(np.uint8), np.ones((3, 3), np.uint8))
            assert (beside[first > 0] == 1).all()
        assert abs(image.sum() - wanted.sum()) <= 0.2 * wanted.sum()


@pytest.fixture
def author_dir(tmp_path):
    """A data folder with two drawings in the form of the post's author."""
    h5py = pytest.importorskip("h5py")
    (tmp_path / "strokes").mkdir()
    with h5py.File(tmp_path / "strokes" / "grzego-samples.h5", "w") as file:
        file["data"] = np.stack([CROSS, CROSS])
        file["labels"] = np.array([4, 8], np.int32)
    return tmp_path


def test_the_authors_file_is_found_in_the_data_folder(author_dir, monkeypatch):
    monkeypatch.delenv("SOFTRASTER_DATA", raising=False)
    loaded = load_samples("author", author_dir, points=5)
    assert loaded.labels.tolist() == [4, 8]
    np.testing.assert_allclose(loaded.strokes[1], CROSS, atol=1e-7)
    with pytest.raises(FileNotFoundError, match="SOFTRASTER_DATA"):
        load_samples("author")
    monkeypatch.setenv("SOFTRASTER_DATA", str(author_dir / "strokes"))
    assert load_samples("author", points=5).labels.tolist() == [4, 8]
    with pytest.raises(FileNotFoundError, match=r"has no grzego-samples\.h5"):
        load_samples("author", author_dir.parent)


def test_fingerprints_tell_drawings_apart(tmp_path):
    fingerprints = set()
    for labels in ([4, 7], [4, 8]):
        save_samples(tmp_path / "mine.npz", [CROSS, CROSS], labels)
        fingerprints |= {load_samples(tmp_path / "mine.npz").fingerprint() for _ in range(2)}
    assert len(fingerprints) == 2 and all(f.startswith("2 drawings") for f in fingerprints)


def refused(path, **options):
    """The message with which a file is refused, checked to be one line that names it."""
    with pytest.raises(SampleError) as caught:
        load_samples(path, **options)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"label": 10, "points": HOOK.tolist()}, "drawing 1: label must be .* got 10"),
        ({"label": True, "points": HOOK.tolist()}, "got True"),
        ({"label": 1, "points": [[0.5, 0.5, 1]]}, r"at least 2 .* got shape \(1, 3\)"),
        ({"label": 1, "points": [[0.5, 0.5], [0.5, 0.6]]}, r"got shape \(2, 2\)"),
        ({"label": 1, "points": [[0.5, 1.5, 0], [0.5, 0.6, 1]]}, "x and y must be in 0..1"),
        ({"label": 1, "points": [[0.5, float("nan"), 0], [0.5, 0.6, 1]]}, "must be in 0..1"),
        ({"label": 1, "points": [[0.5, 0.5, 2], [0.5, 0.6, 1]]}, "lifted must be 0 or 1"),
        ({"label": 1, "points": [[0.5, 0.5, 0], [0.5, 0.5, 1]]}, "nothing is drawn"),
        ({"label": 1, "points": "a line"}, "drawing 1"),
        ({"label": 1}, "not a .json file of samples"),
    ],
)
def test_what_is_no_drawing_is_refused_by_number(tmp_path, entry, says):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"drawings": [{"label": 4, "points": CROSS.tolist()}, entry]}))
    assert re.search(says, refused(path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"drawings": []}', b"\x89HDF\r\n\x1a\n"])
@pytest.mark.parametrize("suffix", [".npz", ".json", ".h5"])
def test_files_of_other_forms_are_refused(tmp_path, content, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    refused(path)


def test_other_suffixes_and_missing_files_are_named(tmp_path):
    (tmp_path / "mine.csv").write_text("")
    assert ".npz, .json or .h5" in refused(tmp_path / "mine.csv")
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        load_samples(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz or \.json"):
        save_samples(tmp_path / "mine.csv", [CROSS], [1])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    save_samples(path, [CROSS], [4])
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        save_samples(path, [HOOK], [1])
    assert path.read_bytes() == before
