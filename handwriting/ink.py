"""Which pixels of a photograph are ink: light, polarity and colour evened out, rules left out.

Which ink is one digit is left to cutting.py.
"""

from __future__ import annotations

import numpy as np

from handwriting._extras import require
from handwriting.photo import PhotoError

_EVERY = 2  # which pixel of a row, and which row, statistics of the whole picture look at

_STEEPEST = 0.25  # rise of a rule of ruled paper

# Depth is the share of the ground's light that is missing.
_FAINT = 0.03  # of what is there at all
_FAINTEST = 0.08  # of ink that can be followed


def ink_depth(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """How deep the ink of a picture is, be it dark on light ground or light on dark.

    Args:
        picture: (h, w, 3) float32, 0 to 1.

    Returns:
        (h, w) float32, the share of the ground's light that is missing, or, of light ink, of its
        darkness, about 0 on the ground; and that ground's spread, as a standard deviation.
    """
    ways = (1 - picture, picture) if _is_light_ink(picture) else (picture, 1 - picture)
    depth, spread = _depth(ways[0])
    if spread > _FAINT:  # dense print, in which the ground between lines is narrow, too
        other, other_spread = _depth(ways[1])
        if other_spread < spread / 2:
            return other, other_spread
    return depth, spread


def _depth(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """(h, w) float32, how deep the ink is, about 0 on the ground; and the ground's spread."""
    cv2 = require("cv2")
    picture = cv2.GaussianBlur(picture, (0, 0), 1.2)
    ground = _ground(picture)
    missing = 1 - picture / np.maximum(ground, 0.02)
    some = missing[::_EVERY, ::_EVERY].reshape(-1, 3)
    middle = np.median(some, axis=0)
    # Of all colours that which the ink takes away most: lines of other colours count for less.
    some = some - middle
    deepest = some.max(axis=1)
    direction = np.maximum(some[deepest >= np.quantile(deepest, 0.99)].mean(axis=0), 0)
    direction = direction / max(float(direction.sum()), 1e-6)
    depth = cv2.transform(missing, direction[None].astype(np.float32)) - float(middle @ direction)
    some = depth[::_EVERY, ::_EVERY]
    middle = float(np.median(some))
    return depth - middle, 1.4826 * float(np.median(np.abs(some - middle)))


def _is_light_ink(picture: np.ndarray) -> bool:
    """Whether the narrowest parts of the picture that stand out are light ones, not dark."""
    cv2 = require("cv2")
    grey = picture.mean(axis=2)
    shrink = min(1.0, 240 / min(grey.shape))
    grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 2.0)
    noise = 4 * float(np.quantile(np.abs(fine), 0.25)) / 0.3186  # of a normal distribution
    found = []
    for side in (5, 9, 15, 25, 43, 79):
        square = np.ones((side, side), np.uint8)
        light = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, square)
        dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, square)
        found.append([float(np.square(np.maximum(h - noise, 0)).sum()) for h in (light, dark)])
    # Lines of a pen are narrower than the ground between them: with squares of their width they
    # stand out alone, with larger ones that ground does, too.
    least = 0.05 * max(map(max, found))
    pairs = [pair for pair in found if max(pair) > least]
    light, dark = max(pairs, key=lambda pair: abs(pair[0] - pair[1]) / sum(pair), default=(0, 1))
    return light > dark


def _ground(picture: np.ndarray) -> np.ndarray:
    """The picture without its ink: nothing dark that is narrower than a quarter of its side."""
    cv2 = require("cv2")
    shrink = min(1.0, 400 / max(picture.shape))
    small = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    side = max(3, min(small.shape[:2]) // 4 | 1)
    small = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def ink_mask(depth: np.ndarray, spread: float) -> np.ndarray:
    """Part ink from ground and from what is paler than the ink.

    Args:
        depth, spread: from `ink_depth`.

    Returns:
        (h, w) bool, True where there is ink.

    Raises:
        PhotoError: no ink, or too little contrast.
    """
    cv2 = require("cv2")
    floor = max(5 * spread, _FAINTEST / 2)
    low = _without_rules(depth > floor)
    above = depth[low]
    if len(above) < 12 or np.quantile(above, 0.9) < _FAINTEST:
        if np.quantile(depth, 0.999) > max(_FAINT, 4.5 * spread):
            raise PhotoError("too faint: what is written hardly differs from its ground")
        reason = "the picture is all of one tone" if spread < _FAINT else "its ground is too uneven"
        raise PhotoError(f"no ink found: {reason}")
    levels = np.clip(np.rint(255 * above), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    high = max(floor, threshold / 255)
    low &= depth > max(floor, 0.75 * high)
    count, labels = cv2.connectedComponents(low.astype(np.uint8), connectivity=8)
    holds = np.zeros(count, bool)
    holds[np.unique(labels[depth > high])] = True
    holds[0] = False
    return holds[labels]


def _without_rules(mask: np.ndarray) -> np.ndarray:
    """The mask less thin straight lines that run unbroken through the picture."""
    cv2 = require("cv2")
    thick = max(7, round(0.015 * max(mask.shape)))
    kept = mask.copy()
    for turned, left in ((mask, kept), (mask.T, kept.T)):
        width = turned.shape[1]
        bar = np.ones((thick + 1, 1), np.uint8)
        tall = cv2.morphologyEx(np.ascontiguousarray(turned, np.uint8), cv2.MORPH_OPEN, bar)
        thin = (turned & (tall == 0)).astype(np.uint8)
        found = cv2.HoughLinesP(thin, 1, np.pi / 720, width // 4, None, 0.6 * width, 0.3 * width)
        rules = np.zeros_like(thin)
        columns = np.arange(width)
        for x1, y1, x2, y2 in [] if found is None else found.reshape(-1, 4):
            rise = (y2 - y1) / (x2 - x1) if x2 != x1 else np.inf
            if abs(rise) > _STEEPEST:
                continue
            # Hough's line may be a stroke of a digit: a rule goes on to the picture's edges.
            rows = np.rint(y1 + rise * (columns - x1)).astype(int)
            inside = (rows >= 0) & (rows < len(turned))
            if turned[rows[inside], columns[inside]].mean() > 0.9:
                ends = [(int(x), int(rows[x])) for x in (0, width - 1)]
                cv2.line(rules, *ends, 1, thick)
        left[(rules & thin) > 0] = False
    return kept
