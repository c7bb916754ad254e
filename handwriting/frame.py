"""A digit's ink brought to the frame of MNIST's digits, and points of that frame back to the photo.

Finding the ink is left to cutting.py, thinning to thinning.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from handwriting._extras import require
from handwriting.cutting import Ink, box_of
from handwriting.models.writer import IMAGE_SIZE

BOX = 20  # px of the 28: the longer side of a digit's ink
FINER = 2  # pixels of `Framed.fine` for one of the frame, along a side

# Pen widths of MNIST's digits lie between about 2 and 4 px. A thinner pen's ink is widened to the
# first, since lines of less than a pixel would be all grey, and break when thinned.
THINNEST = 2.4  # px of the frame


@dataclass(frozen=True, eq=False)
class Framed:
    """A digit as MNIST has it.

    Attributes:
        image: (28, 28) uint8, 0 is ground and 255 is ink.
        fine: (28 * FINER, 28 * FINER) float32, 0 to 1: the same in smaller pixels.
        width: of the ink, in units of the frame's side.
        scale: x, y: pixels of the photograph for the frame's side.
        corner: x, y of the frame's top left corner, px of the photograph.
    """

    image: np.ndarray
    fine: np.ndarray
    width: float
    scale: np.ndarray
    corner: np.ndarray

    def to_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in units of the frame's side as px of the photograph."""
        return points * self.scale + self.corner


def to_frame(ink: Ink) -> Framed:
    """Bring a digit's ink to the frame of MNIST.

    As its makers say they did: the box around the ink is scaled to fit 20 x 20 pixels, its aspect
    kept, by area averages; whole pixels of shift then bring the centre of mass next to the middle
    of 28 x 28 pixels. Ink of a pen thinner than THINNEST is widened first.

    Source:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document
        recognition", Proceedings of the IEEE 86(11), 1998; that shifts are whole pixels: C. Yadav
        and L. Bottou, "Cold case: the lost MNIST digits", NeurIPS 2019.
    """
    cover, (pad_x, pad_y), width = _widened(ink)
    left, top, right, bottom = box_of(cover > 0.5)
    crop = cover[top:bottom, left:right]
    scale = BOX / max(crop.shape)
    high, wide = (max(1, round(scale * side)) for side in crop.shape)
    small = _resized(crop, wide, high)
    mass = max(float(small.sum()), 1e-6)
    middle = np.array([(small.sum(0) @ np.arange(wide)), (small.sum(1) @ np.arange(high))]) / mass
    half = IMAGE_SIZE // 2
    shift = np.clip(np.rint(half - middle), 0, (IMAGE_SIZE - wide, IMAGE_SIZE - high)).astype(int)
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    image[shift[1] : shift[1] + high, shift[0] : shift[0] + wide] = small
    fine = np.zeros((FINER * IMAGE_SIZE, FINER * IMAGE_SIZE), np.float32)
    x, y = FINER * shift
    fine[y : y + FINER * high, x : x + FINER * wide] = _resized(crop, FINER * wide, FINER * high)
    # Of `cover`, how many pixels one of the frame is: not the same both ways, sides being rounded.
    pixel = np.array([crop.shape[1] / wide, crop.shape[0] / high])
    corner = np.array([left - pad_x, top - pad_y]) - shift * pixel
    return Framed(
        np.rint(255 * image).astype(np.uint8),
        fine,
        float(width / pixel.mean() / IMAGE_SIZE),
        pixel * IMAGE_SIZE * ink.scale,
        corner * ink.scale + ink.corner,
    )


def _widened(ink: Ink) -> tuple[np.ndarray, tuple[int, int], float]:
    """`cover` with ink of at least THINNEST in the frame, its new margins, and the ink's width."""
    cv2 = require("cv2")
    left, top, right, bottom = box_of(ink.cover > 0.5)
    longer, width = max(right - left, bottom - top), ink.width
    # Wide enough for the box that widening makes: (width + 2 r) / (longer + 2 r) = least.
    least = THINNEST / BOX
    r = int(np.ceil((least * longer - width) / (2 * (1 - least))))
    if r < 1:
        return ink.cover, (0, 0), width
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
    return cv2.dilate(np.pad(ink.cover, r), disc), (r, r), width + 2 * r


def turned(ink: Ink, turn: float, slant: float) -> Ink:
    """The same ink turned by `turn` radians and slanted, on a canvas with room; places are lost."""
    cv2 = require("cv2")
    high, wide = ink.cover.shape
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1, slant], [0, 1]])
    corners = np.array([(0, 0), (wide, 0), (0, high), (wide, high)]) @ matrix.T
    low, size = corners.min(axis=0), np.ceil(np.ptp(corners, axis=0)).astype(int) + 2
    about = np.column_stack((matrix, 1 - low))
    return replace(ink, cover=cv2.warpAffine(ink.cover, about, tuple(size.tolist())))


def _resized(crop: np.ndarray, wide: int, high: int) -> np.ndarray:
    cv2 = require("cv2")
    shrinks = crop.shape[0] >= high and crop.shape[1] >= wide
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(crop, (wide, high), interpolation=how)
