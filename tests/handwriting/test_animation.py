"""The GIF against where the pen is at a frame's time."""

import io

import numpy as np
import pytest

from handwriting.animation import SIDE, STEPS, animate

image_module = pytest.importorskip("PIL.Image")


@pytest.fixture
def drawings():
    """A square bracket, and the same with its middle lifted."""
    bracket = np.array([(0.2, 0.2, 0), (0.8, 0.2, 0), (0.8, 0.8, 0), (0.2, 0.8, 1)], np.float32)
    lifted = bracket.copy()
    lifted[1, 2] = 1
    return np.stack((bracket, lifted))


def frames_of(data):
    """Grey values of all frames, each as often as its time is of the shortest's."""
    with image_module.open(io.BytesIO(data)) as gif:
        frames = []
        for number in range(gif.n_frames):
            gif.seek(number)
            frames.append((np.asarray(gif.convert("L")), gif.info["duration"]))
    shortest = min(duration for _, duration in frames)
    return [frame for frame, duration in frames for _ in range(round(duration / shortest))]


def test_a_frame_shows_what_is_drawn_by_then_and_no_jump(drawings):
    frames = frames_of(animate(drawings))
    assert frames[0].shape == (SIDE, 2 * SIDE) and frames[0].max() == 0
    places = [(0.35, 0.2), (0.65, 0.2), (0.8, 0.35), (0.8, 0.65), (0.65, 0.8), (0.35, 0.8)]
    for time in range(3 * STEPS + 1):
        done = 2 * time / STEPS  # half segments
        for column, jumps in ((0, ()), (1, (2, 3))):
            for number, (x, y) in enumerate(places):
                value = frames[time][int(y * SIDE), int((column + x) * SIDE)]
                inked = number < done and number not in jumps
                assert (value > 200) if inked else (value == 0), (time, column, number)


def test_the_last_frame_stays_and_the_animation_repeats(drawings):
    data = animate(drawings)
    with image_module.open(io.BytesIO(data)) as gif:
        assert gif.info["loop"] == 0
    frames = frames_of(data)
    assert len(frames) > 3 * STEPS + 10
    assert (frames[3 * STEPS] == frames[-1]).all()
