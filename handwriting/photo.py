"""Photographs: files, arrays and Pillow images as one form of pixels.

Files are decoded by Pillow. Which pixels are ink is left to ink.py, which ink is one digit to
cutting.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from handwriting._extras import require


class PhotoError(ValueError):
    """A picture in which no digits can be found; the message says why."""


def load_photo(source: Any) -> np.ndarray:
    """Decode a picture.

    Args:
        source: a file's name; a Pillow image; or an array (H, W), (H, W, 3) or (H, W, 4) of grey,
            red green blue, or those and opacity: bool, uint8, uint16, or floats from 0 to 1.

    Returns:
        (H, W, 3) float32, 0 to 1, turned as its EXIF data say. What is transparent becomes black
        under light ink and white under dark.

    Raises:
        TypeError: something else, or an array of another dtype.
        PhotoError: not a picture, a damaged or too large one, an array of another shape.
        OSError: the file cannot be read.
    """
    image = require("PIL.Image")
    if isinstance(source, (str, os.PathLike)):
        pixels = _decode(Path(source))
    elif isinstance(source, image.Image):
        pixels = _to_array(source)
    elif isinstance(source, np.ndarray):
        pixels = source
    else:
        raise TypeError(
            f"photo must be a file's name, an array or a Pillow image, got {type(source).__name__}"
        )
    return _to_rgb(pixels)


def _decode(path: Path) -> np.ndarray:
    image = require("PIL.Image")
    path.open("rb").close()  # an OSError that names the file, unlike Pillow's of no picture
    try:
        with image.open(path) as opened:
            return _to_array(opened)
    except image.DecompressionBombError as error:
        raise PhotoError(f"{path}: too large a picture ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoError(f"{path}: not a picture that can be read ({error})") from error


def _to_array(opened: Any) -> np.ndarray:
    """Pixels of a Pillow image, upright."""
    upright = require("PIL.ImageOps").exif_transpose(opened)
    if upright.mode.startswith("I"):  # 16 bits of grey, whatever the type that holds them
        return np.clip(np.asarray(upright), 0, 65535).astype(np.uint16)
    if upright.mode == "F":
        return np.asarray(upright)
    transparent = upright.has_transparency_data
    return np.asarray(upright.convert("RGBA" if transparent else "RGB"))


def _to_rgb(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise PhotoError(f"photo must be (H, W), (H, W, 3) or (H, W, 4), got {pixels.shape}")
    most = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
    if not np.issubdtype(pixels.dtype, np.floating) and pixels.dtype not in most:
        raise TypeError(f"photo must be bool, uint8, uint16 or floats, got {pixels.dtype}")
    values = pixels.astype(np.float32) / most.get(pixels.dtype, 1)
    if not ((values >= 0) & (values <= 1)).all():
        raise PhotoError("photo must be from 0 to 1 where it is of floats")
    if values.shape[2] == 4:
        colour, opacity = values[..., :3], values[..., 3:]
        light = (colour * opacity).sum() / max(3 * float(opacity.sum()), 1e-6)
        ground = 0.0 if light > 0.5 else 1.0
        values = colour * opacity + ground * (1 - opacity)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
