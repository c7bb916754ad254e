"""A GIF of digits as they are written. Frames are drawn by `softraster`."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

import softraster
from handwriting._extras import require

SIDE = 72  # pixels of a digit
STEPS = 2  # frames for each segment
_WIDTH = 0.06  # of the ink, in units of the canvas side
_SHADES = 16
_FRAME_MS = 40
_LAST_MS = 1200


def animate(drawings: np.ndarray) -> bytes:
    """Draw digits side by side, all at once and a part of a segment more in each frame.

    Jumps with the pen up take as many frames as a segment.

    Args:
        drawings: (n, P, 3): x, y in units of the canvas side, and 1 where the pen is lifted after
            this point.

    Returns:
        A GIF file: STEPS * (P - 1) + 1 frames of n * SIDE by SIDE pixels, white ink on black, for
        ever repeated.
    """
    image = require("PIL.Image")
    shades = (_frames(torch.from_numpy(drawings).float()) * (_SHADES - 1)).round()
    # One palette of few greys for all frames: no dithering, and a small file.
    greys = [round(255 * shade / (_SHADES - 1)) for shade in range(_SHADES)]
    frames = []
    for pixels in shades.to(torch.uint8).numpy():
        frame = image.fromarray(pixels, "P")
        frame.putpalette([grey for grey in greys for _ in range(3)])
        frames.append(frame)
    file = io.BytesIO()
    durations = [*(len(frames) - 1) * [_FRAME_MS], _LAST_MS]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def _frames(drawings: Tensor) -> Tensor:
    """(frames, SIDE, n * SIDE), 0..1."""
    starts, ends = drawings[:, :-1, :2], drawings[:, 1:, :2]
    count = starts.shape[1]
    time = torch.arange(STEPS * count + 1)[:, None] / STEPS
    done = (time - torch.arange(count)).clamp(0, 1)[:, None, :, None]  # (frames, 1, count, 1)
    segments = torch.cat((starts.expand(len(done), -1, -1, -1), starts + done * (ends - starts)), 3)
    canvases = softraster.draw_segments(
        segments,
        6 * SIDE,
        SIDE,
        width=_WIDTH,
        intensity=(1 - drawings[:, :-1, 2]) * (done[..., 0] > 0),
        coverage="capsule",
        composite="max",
    )
    return canvases.transpose(1, 2).flatten(2)
