"""The styles that ship with the package: digits of some writers of MNIST, a few of each digit.

`python -m handwriting.pen_styles FILE` chooses them anew from a file that `export` wrote. Making
them ready and reading them is left to `donors.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from handwriting.donors import STYLES_FILE, Donors, prepare, usable
from handwriting.files import pack_npz, write_atomically
from handwriting.formats import StrokeSet, load_strokes

STYLES = 24
VARIANTS = 3  # of each digit in a style

_REACH = 60  # places in MNIST around a style's middle, on both sides
_STEP = 25  # places between the middles that are looked at
_LEAST_F1 = 0.975


def choose_styles(drawn: StrokeSet, styles: int = STYLES) -> tuple[np.ndarray, np.ndarray]:
    """Choose writers that differ, and of each the digits that are most alike.

    A writer is a stretch of MNIST's training set, every other place of it. Only digits count that
    are well drawn: by f1, and read right by the reader, where the file says so. Of the stretches
    with VARIANTS of each digit those are taken, one after the other, that are farthest from those
    taken before in slant, width and length of the digits.

    Args:
        drawn: from `load_strokes`.
        styles: how many.

    Returns:
        Places in `drawn`, (styles * 10 * VARIANTS,), and the style's number of each; from the most
        upright writing to the most slanted.

    Raises:
        ValueError: there are not so many.
    """
    good = usable(drawn) & (drawn.quality["f1"] >= _LEAST_F1)
    if "cnn" in drawn.quality:
        good &= drawn.quality["cnn"] > 0
    numbers = np.flatnonzero(good)
    donors = prepare(drawn.strokes[numbers], drawn.label[numbers], drawn.index[numbers])
    traits = _traits(donors)
    found, features = [], []
    for middle in range(_REACH, int(donors.places.max(initial=0)) - _REACH, _STEP):
        chosen = _digits_of(donors, traits, middle)
        if chosen is not None:
            found.append(chosen)
            features.append(traits[chosen].mean(axis=0))
    if len(found) < styles:
        raise ValueError(f"{styles} styles are wanted, but only {len(found)} have all digits")
    features = np.array(features) / np.std(features, axis=0)
    # The rarest hands of all are mostly mistakes.
    usual = np.abs(features - np.median(features, axis=0)).max(axis=1) < 2.2
    found, features = [f for f, u in zip(found, usual, strict=True) if u], features[usual]
    taken = [int(np.argmin(np.abs(features - features.mean(axis=0)).sum(axis=1)))]
    while len(taken) < styles:
        apart = np.linalg.norm(features[:, None] - features[taken], axis=2).min(axis=1)
        taken.append(int(apart.argmax()))
    taken.sort(key=lambda one: features[one, 0])
    chosen = np.concatenate([found[one] for one in taken])
    return numbers[chosen], np.repeat(np.arange(styles), 10 * VARIANTS)


def save_styles(path: Path, drawn: StrokeSet, styles: int = STYLES) -> None:
    """Write the styles of a file of strokes.

    The .npz holds `strokes` (n, P, 3) uint16, x and y in units of the canvas side times 65535 and
    lifted as 0 or 1; `label` (n,) uint8; `style` (n,) uint8, rising; `index` (n,) uint16, the
    digit's place in MNIST's training set.
    """
    places, numbers = choose_styles(drawn, styles)
    strokes = drawn.strokes[places].astype(np.float64)
    strokes[..., :2] *= 65535
    arrays = {
        "strokes": strokes.round().clip(0, 65535).astype(np.uint16),
        "label": drawn.label[places].astype(np.uint8),
        "style": numbers.astype(np.uint8),
        "index": drawn.index[places].astype(np.uint16),
    }
    write_atomically(path, pack_npz(arrays))


def _traits(donors: Donors) -> np.ndarray:
    """(n, 3) slant, width and length of each digit, less its class's mean, over its deviation."""
    wide = np.array([np.ptp(donors.digit(n)[0][:, 0]) for n in range(len(donors.labels))])
    traits = np.stack((donors.slants, wide, donors.counts), axis=1).astype(np.float64)
    for label in np.unique(donors.labels):
        same = donors.labels == label
        traits[same] -= traits[same].mean(axis=0)
        traits[same] /= traits[same].std(axis=0) + 1e-9
    return traits


def _digits_of(donors: Donors, traits: np.ndarray, middle: int) -> np.ndarray | None:
    """VARIANTS digits of each label around a place, the most usual there; None: too few."""
    near = np.flatnonzero(
        (np.abs(donors.places - middle) <= _REACH) & (donors.places % 2 == middle % 2)
    )
    if len(near) < 10 * VARIANTS:
        return None
    away = np.abs(traits[near] - np.median(traits[near], axis=0)).sum(axis=1)
    order = near[np.argsort(away)]
    parts = [order[donors.labels[order] == label][:VARIANTS] for label in range(10)]
    if min(len(part) for part in parts) < VARIANTS:
        return None
    return np.concatenate(parts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m handwriting.pen_styles FILE")
    save_styles(STYLES_FILE, load_strokes(sys.argv[1]))
