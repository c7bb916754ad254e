"""Photographs of handwritten digits that are made up, so that the pen's true path is known.

Draws known pen paths with OpenCV on paper, dark or ruled ground, and does to the picture what
scanners and telephones do. What is to be found in it is left to tracing.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handwriting._extras import require

# What each kind has beside paper, ink, a pen of some width and a small turn.
KINDS = {
    "scan": "dark ink on white, 60 to 400 px high",
    "small": "18 to 36 px high, JPEG",
    "dark": "light on dark ground, light falling off",
    "colour": "red, blue, green or orange ink on tinted paper",
    "noise": "strong sensor noise, JPEG of low quality",
    "shadow": "a hard or soft shadow across, light falling off",
    "ruled": "lines of an exercise book run through",
    "phone": "perspective, blur, shadow, noise and often ruled paper, all at once",
}

_PAPER = (250, 248, 240)
_INK = (35, 35, 45)
_COLOURS = ((190, 30, 40), (30, 60, 170), (20, 120, 60), (220, 110, 20))
_RULE = (165, 190, 220)


@dataclass(frozen=True, eq=False)
class MadePhoto:
    """A made photograph.

    Attributes:
        pixels: (H, W, 3) uint8, red, green, blue.
        drawings: (P, 3) float64 for each digit from left to right: x, y in px of the photograph, a
            pixel's middle at .5, and 1 where the pen is lifted after this point.
        width: of the ink, px.
    """

    pixels: np.ndarray
    drawings: list[np.ndarray]
    width: float


def make_photo(drawings: Sequence[np.ndarray], kind: str, random: np.random.Generator) -> MadePhoto:
    """Make a photograph of digits in a row.

    Args:
        drawings: (P, 3) each: x, y in any one unit, y down, and 1 where the pen is lifted after
            this point.
        kind: one of KINDS.
        random: what chance decides: sizes, place, light, noise, compression.

    Raises:
        ValueError: no kind has the name, or nothing is to be drawn.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not len(drawings):
        raise ValueError("drawings must be at least one, got none")
    height = random.uniform(18, 36) if kind == "small" else 60 * (400 / 60) ** random.random()
    width = max(1.6, height * random.uniform(0.05, 0.13))
    placed, size = _lay_out(drawings, height, random)
    warp = _perspective(size, random) if kind == "phone" else np.eye(3)
    cover = _draw(placed, width, size)
    picture = _paint(cover, kind, height, random)
    if kind == "phone":
        cv2 = require("cv2")
        # From middles at whole numbers, as OpenCV counts, to middles at .5 and back.
        shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        about = np.linalg.inv(shift) @ warp @ shift
        picture = cv2.warpPerspective(
            picture, about, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
    picture = _light(picture, kind, random)
    pixels = _record(picture, kind, height, random)
    return MadePhoto(pixels, [_warped(drawing, warp) for drawing in placed], width)


def _lay_out(
    drawings: Sequence[np.ndarray], height: float, random: np.random.Generator
) -> tuple[list[np.ndarray], tuple[int, int]]:
    """The drawings in px, side by side, and the picture's width and height."""
    margin = height * random.uniform(0.35, 0.9, 4)
    placed, at = [], margin[0]
    for drawing in drawings:
        points = drawing[:, :2].astype(np.float64)
        box = np.ptp(points, axis=0)
        points = (points - points.min(axis=0)) * height / max(box[1], 0.5 * box[0], 1e-9)
        turn = np.radians(random.uniform(-7, 7))
        cosine, sine = np.cos(turn), np.sin(turn)
        points = points @ np.array([[cosine, sine], [-sine, cosine]])
        points -= points.min(axis=0)
        points += (at, margin[1] + height * random.uniform(-0.06, 0.06))
        placed.append(np.column_stack((points, drawing[:, 2])))
        at = points[:, 0].max() + height * random.uniform(0.22, 0.5)
    right = max(drawing[:, 0].max() for drawing in placed) + margin[2]
    bottom = max(drawing[:, 1].max() for drawing in placed) + margin[3]
    return placed, (round(right), round(bottom))


def _draw(drawings: list[np.ndarray], width: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32: the share of each pixel that is inked."""
    cv2 = require("cv2")
    finer = 4 if width < 12 else 2
    canvas = np.zeros((finer * size[1], finer * size[0]), np.uint8)
    for drawing in drawings:
        points = np.rint(16 * (finer * drawing[:, :2] - 0.5)).astype(np.int32)
        for chain in np.split(points, np.flatnonzero(drawing[:-1, 2]) + 1):
            thick = max(1, round(finer * width))
            cv2.polylines(canvas, [chain], False, 255, thick, cv2.LINE_AA, 4)
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _paint(cover: np.ndarray, kind: str, height: float, random: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32, 0 to 255: ink on its ground."""
    paper = np.array(_PAPER, np.float32) * random.uniform(0.85, 1)
    ink = np.array(_INK, np.float32) + random.uniform(0, 50)
    if kind == "dark":
        paper, ink = 25 + random.uniform(0, 50, 3), random.uniform(190, 250, 3)
    elif kind in ("colour", "phone"):
        ink = np.array(_COLOURS[random.integers(len(_COLOURS))], np.float32)
        if kind == "phone":
            ink = ink / 2
        paper = paper * random.uniform(0.85, 1, 3)
    picture = np.broadcast_to(paper.astype(np.float32), (*cover.shape, 3)).copy()
    if kind == "ruled" or (kind == "phone" and random.random() < 0.6):
        apart, thick = height * random.uniform(0.45, 0.9), max(1, round(0.018 * height))
        for line in np.arange(random.uniform(0, apart), len(picture), apart):
            picture[round(line) : round(line) + thick] = _RULE
    cover = (cover * random.uniform(0.8, 1))[..., None]
    return picture * (1 - cover) + ink.astype(np.float32) * cover


def _perspective(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """(3, 3): where the camera sees a point of the paper, px."""
    cv2 = require("cv2")
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64) * size
    seen = corners + random.uniform(-0.05, 0.05, (4, 2)) * min(size)
    return cv2.getPerspectiveTransform(corners.astype(np.float32), seen.astype(np.float32))


def _warped(drawing: np.ndarray, warp: np.ndarray) -> np.ndarray:
    points = np.column_stack((drawing[:, :2], np.ones(len(drawing)))) @ warp.T
    return np.column_stack((points[:, :2] / points[:, 2:], drawing[:, 2]))


def _light(picture: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """The picture under light that falls off, and in shadow."""
    if kind not in ("dark", "shadow", "phone"):
        return picture
    rows, columns = np.indices(picture.shape[:2], np.float32)
    rows, columns = rows / len(picture), columns / picture.shape[1]
    angle = random.uniform(0, 2 * np.pi)
    along = (columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle)
    light = 1 - random.uniform(0.1, 0.45) * (along + 0.5)
    if kind != "dark":
        angle = random.uniform(0, 2 * np.pi)
        across = (columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle)
        edge = random.uniform(0.01, 0.12)
        inside = 1 / (1 + np.exp(-(across - random.uniform(-0.2, 0.2)) / edge * 4))
        light = light * (1 - random.uniform(0.25, 0.5) * inside)
    return picture * light[..., None]


def _record(
    picture: np.ndarray, kind: str, height: float, random: np.random.Generator
) -> np.ndarray:
    """(H, W, 3) uint8: blurred, noisy and compressed."""
    cv2 = require("cv2")
    blur = height * random.uniform(0.004, 0.015) if kind == "phone" else 0.4
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.3, blur))
    noise = {"noise": random.uniform(15, 30), "phone": random.uniform(3, 10)}.get(kind, 2.0)
    picture = picture + random.normal(0, noise, picture.shape)
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    quality = int(random.integers(35, 60) if kind == "noise" else random.integers(70, 96))
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])
