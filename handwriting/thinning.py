"""Digits thinned to lines one pixel wide, whole batches at a time.

A threshold chosen for each image, then Zhang-Suen thinning to convergence: the thinned MNIST of
Edwin de Jong (https://edwin-de-jong.github.io/blog/mnist-sequence-data), remade. Finding the images
and keeping the results is left to data.py.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from handwriting._extras import require

THRESHOLD_STEP = 25
THRESHOLD_STOP = 250

# Longer chunks are no faster and only take more memory.
_CHUNK = 1000

# (row, column) of P2 ... P9, the neighbours in the paper's order: up first, then clockwise.
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def thin(images: np.ndarray, *, progress: bool = False) -> np.ndarray:
    """Thin grey images of light ink on a dark ground to lines one pixel wide.

    Args:
        images: (B, H, W) uint8, 0 is ground. B may be 0.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        (B, H, W) uint8 of 0 and 1, 1 is ink. Of the frame (first and last row and column), all
        that is above the threshold stays.

    Raises:
        TypeError: `images` is not a uint8 array.
        ValueError: `images` is not three-dimensional.

    Source:
        `choose_thresholds` as Edwin de Jong describes, then `zhang_suen`.
    """
    _check_images(images, "images")
    thinned = np.zeros(images.shape, np.uint8)
    bar = require("tqdm").tqdm(
        total=len(images), desc="thinning", unit=" images", disable=None if progress else True
    )
    with bar:
        for start in range(0, len(images), _CHUNK):
            chunk = images[start : start + _CHUNK]
            thresholds = choose_thresholds(chunk)
            thinned[start : start + _CHUNK] = zhang_suen(chunk > thresholds[:, None, None])
            bar.update(len(chunk))
    return thinned


def choose_thresholds(images: np.ndarray) -> np.ndarray:
    """The highest threshold that leaves each image's shape as it is.

    A threshold keeps the pixels above it. It is raised from 0 in steps of 25, to 225 at most, while
    the image keeps its numbers of 4-connected and of 8-connected components and at least half of
    its ink.

    Args:
        images: (B, H, W) uint8, 0 is ground.

    Returns:
        (B,) int64, multiples of 25 from 0 to 225. 225 for an image without ink.

    Raises:
        TypeError, ValueError: as `thin`.

    Source:
        Edwin de Jong, https://edwin-de-jong.github.io/blog/mnist-sequence-data.
    """
    _check_images(images, "images")
    untouched = images > 0
    ink = np.count_nonzero(untouched, axis=(1, 2))
    components = {c: count_components(untouched, c) for c in (4, 8)}

    thresholds = np.zeros(len(images), np.int64)
    rising = np.arange(len(images))
    for threshold in range(THRESHOLD_STEP, THRESHOLD_STOP, THRESHOLD_STEP):
        above = images[rising] > threshold
        keeps = 2 * np.count_nonzero(above, axis=(1, 2)) >= ink[rising]
        for connectivity, wanted in components.items():
            above, rising = above[keeps], rising[keeps]
            keeps = count_components(above, connectivity) == wanted[rising]
        rising = rising[keeps]
        thresholds[rising] = threshold
    return thresholds


def count_components(binary: np.ndarray, connectivity: int) -> np.ndarray:
    """Count the connected components of ink in each image.

    Args:
        binary: (B, H, W) bool or uint8, whatever is not 0 is ink.
        connectivity: 4 or 8.

    Returns:
        (B,) int64.
    """
    count, height, width = binary.shape
    if binary.size == 0:
        return np.zeros(count, np.int64)
    # One tall image with a row of ground under each tile: one call instead of B, and no component
    # reaches into the next tile.
    cv2 = require("cv2")
    mosaic = np.zeros((count, height + 1, width), np.uint8)
    mosaic[:, :height] = binary
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        mosaic.reshape(-1, width), connectivity=connectivity
    )
    tops = stats[1:, cv2.CC_STAT_TOP]  # label 0 is the ground
    return np.bincount(tops // (height + 1), minlength=count)


def zhang_suen(binary: np.ndarray) -> np.ndarray:
    """Thin binary images by the method of Zhang and Suen, until nothing changes.

    Args:
        binary: (B, H, W) bool or uint8, whatever is not 0 is ink.

    Returns:
        (B, H, W) uint8 of 0 and 1. Pixels of the frame, which lack neighbours, stay as they are. A
        lone square of 2 x 2 vanishes, as the paper's rules have it.

    Raises:
        TypeError: `binary` is not a bool or uint8 array.
        ValueError: `binary` is not three-dimensional.

    Source:
        T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns",
        Communications of the ACM 27(3), 1984.
    """
    _check_images(binary, "binary", dtypes=(np.bool_, np.uint8))
    thinned = (binary != 0).astype(np.uint8)
    changing, active = np.arange(len(thinned)), thinned
    while len(changing):
        # Both halves of an iteration must run before an image counts as unchanged.
        changed = _remove(active, _KEEP_FIRST) | _remove(active, _KEEP_SECOND)
        thinned[changing] = active
        changing, active = changing[changed], active[changed]
    return thinned


def _remove(images: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """One sub-iteration, in place; (B,) bool, which images lost a pixel."""
    height, width = images.shape[1:]
    inner = images[:, 1:-1, 1:-1]
    code = np.zeros(inner.shape, np.uint8)
    for bit, (row, column) in enumerate(_NEIGHBOURS):
        shifted = images[:, 1 + row : height - 1 + row, 1 + column : width - 1 + column]
        code |= shifted << np.uint8(bit)
    kept = inner & keep[code]
    changed = (kept != inner).any(axis=(1, 2))
    images[:, 1:-1, 1:-1] = kept
    return changed


def _keep_table(products: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """(256,) uint8: does an ink pixel stay, by the code of its neighbours, bit i for P(i + 2).

    It goes if it has two to six ink neighbours, if they form one run (A(P1) = 1 in the paper), and
    if each of `products`, three neighbours by the paper's numbers, has one without ink.
    """
    keep = np.ones(256, np.uint8)
    for code in range(256):
        ink = {number: code >> (number - 2) & 1 for number in range(2, 10)}
        ring = [*ink.values(), ink[2]]
        runs = sum(a < b for a, b in pairwise(ring))
        free = all(not all(ink[number] for number in product) for product in products)
        if 2 <= sum(ink.values()) <= 6 and runs == 1 and free:
            keep[code] = 0
    return keep


_KEEP_FIRST = _keep_table(((2, 4, 6), (4, 6, 8)))
_KEEP_SECOND = _keep_table(((2, 4, 8), (2, 6, 8)))


def _check_images(images: np.ndarray, name: str, dtypes: tuple[type, ...] = (np.uint8,)) -> None:
    wanted = " or ".join(np.dtype(dtype).name for dtype in dtypes)
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{name} must be a numpy array of {wanted}, got {type(images).__name__}")
    if images.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        raise TypeError(f"{name} must be of dtype {wanted}, got {images.dtype}")
    if images.ndim != 3:
        raise ValueError(f"{name} must be of shape (B, H, W), got {images.shape}")
