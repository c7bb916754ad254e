"""Writing: every character once and in order, the same from the same seed, and neat when asked."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from handwriting import synthesis
from handwriting.models.pen import Pen, PenConfig
from handwriting.synthesis import (
    MAX_LENGTH,
    METHODS,
    LostError,
    compose,
    shipped_pen,
    styles,
    write,
    write_piece,
)

pytest.importorskip("safetensors")

TEXT = "-31,415 +9.26:7"


@pytest.mark.parametrize("method", METHODS)
def test_every_character_but_a_space_is_written_in_order(method):
    writing = compose(TEXT, method=method, seed=3)
    assert set(writing.characters) == {n for n, c in enumerate(TEXT) if c != " "}
    assert (np.diff(writing.characters) >= 0).all()
    boxes = [writing.strokes[writing.characters == n, 0] for n in np.unique(writing.characters)]
    middles = [(box.min() + box.max()) / 2 for box in boxes]
    assert (np.diff(middles) > 0).all(), "characters do not follow each other to the right"


@pytest.mark.parametrize("method", METHODS)
def test_strokes_are_of_the_documented_form(method):
    strokes = write("2718", method=method)
    assert strokes.dtype == np.float32 and strokes.shape[1:] == (3,)
    assert np.isin(strokes[:, 2], (0, 1)).all() and strokes[-1, 2] == 1
    assert strokes[:, 0].min() == pytest.approx(0, abs=1e-6)
    assert 2 < strokes[:, 0].max() < 6
    assert -1.6 < strokes[:, 1].min() < -0.7 and abs(strokes[:, 1].max()) < 0.4


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_and_another_seed_does_not(method):
    first, again, other = (write("1234", method=method, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or np.abs(first - other).max() > 0.01


def test_the_random_state_of_others_is_left_alone():
    torch.manual_seed(5)
    np.random.seed(5)
    write("12"), write("12", method="collage")
    got = torch.rand(1).item(), np.random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    assert got == (torch.rand(1).item(), np.random.random())


def test_the_number_of_threads_is_left_as_it_was():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        write("1")
        with pytest.raises(ValueError, match="text has 'x'"):
            write("1x")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("method", METHODS)
def test_neat_writing_varies_less(method):
    def spread(neatness):
        """Of where digits end, above and below."""
        ends = []
        for seed in range(8):
            writing = compose("0000", method=method, style=4, neatness=neatness, seed=seed)
            digits = [writing.strokes[writing.characters == place, 1] for place in range(4)]
            ends += [(digit.min(), digit.max()) for digit in digits]
        return np.std(ends, axis=0).mean()

    assert spread(3.0) < 0.8 * spread(0.0)


@pytest.mark.parametrize("method", METHODS)
def test_every_style_can_be_written_in_and_styles_differ(method):
    slants = []
    for style in range(styles()):
        strokes = write("1111", method=method, style=style, neatness=2.0)
        lines = np.split(strokes, np.flatnonzero(strokes[:-1, 2]) + 1)
        rise = [(line[0] - line[-1])[:2] for line in lines if np.ptp(line[:, 1]) > 0.5]
        slants.append(np.mean([x / -y for x, y in rise]))
    assert np.ptp(slants) > 0.25


def test_the_network_takes_over_the_slant_of_a_style():
    def slants(method):
        means = []
        for style in range(0, styles(), 3):
            strokes = write("1111", method=method, style=style, neatness=2.0)
            lines = np.split(strokes, np.flatnonzero(strokes[:-1, 2]) + 1)
            rise = [(line[0] - line[-1])[:2] for line in lines if np.ptp(line[:, 1]) > 0.5]
            means.append(np.mean([x / -y for x, y in rise]))
        return means

    assert np.corrcoef(slants("network"), slants("collage"))[0, 1] > 0.5


def test_a_pen_that_does_not_follow_the_text_is_not_trusted(monkeypatch):
    monkeypatch.setattr(synthesis, "_MAX_POINTS", 10)
    torch.manual_seed(0)
    untrained = Pen(PenConfig(units=8)).eval()
    with pytest.raises(LostError, match="lost its way in '123456' 24 times; another seed"):
        compose("123456", pen=untrained)


def test_of_each_piece_the_likeliest_whole_candidate_is_kept():
    pen = shipped_pen()
    generator = torch.Generator().manual_seed(4)

    def best(told, piece, shown):
        candidates = write_piece(pen, told, piece, shown, 0.5, generator, 8)
        whole = [one for one in candidates if one.score > -math.inf]
        for one in whole:
            assert sorted(set(one.characters)) == piece
        return max(whole, key=lambda one: one.score).strokes

    first = best("80 530", [0, 1, 3, 4], np.zeros((0, 3)))
    origin = np.array([first[:, 0].min(), 0, 0])
    second = best("80 53170", [5, 6], first - origin) + origin
    strokes = np.concatenate((first, second))
    strokes[:, 0] -= strokes[:, 0].min()
    got = compose("80 5317", neatness=0.5, seed=4).strokes
    np.testing.assert_allclose(got, strokes, atol=1e-5)


def test_a_piece_goes_on_where_what_is_shown_ends():
    shown = compose("4711", seed=2).strokes
    generator = torch.Generator().manual_seed(0)
    candidates = write_piece(shipped_pen(), "471180", [4], shown, 1.0, generator, 8)
    whole = [one for one in candidates if one.score > -math.inf]
    assert len(whole) >= 4
    for one in whole:
        gap = one.strokes[:, 0].min() - shown[:, 0].max()
        assert -0.3 < gap < 1.0 and abs(one.strokes[:, 1].max()) < 0.4


def test_an_attention_that_starts_behind_the_piece_makes_no_candidate():
    pen = Pen(PenConfig(units=8))
    with torch.no_grad():
        pen.attend.bias[2 * pen.config.windows :] = 2.0  # on by seven characters at each point
        pen.attend.weight.zero_()
    generator = torch.Generator().manual_seed(0)
    candidates = write_piece(pen, "10", [0], np.zeros((0, 3)), 1.0, generator, 4)
    assert [one.score for one in candidates] == [-math.inf] * 4


def test_a_long_text_with_spaces_is_written_whole():
    text = " ".join(["31", "415", "9265", "35897", "-93", "+23", "8,4"] * 3)
    characters = compose(text, seed=1).characters
    assert set(characters) == {n for n, character in enumerate(text) if character != " "}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "brush"}, "method must be network or collage, got 'brush'"),
        ({"style": -1}, "style must be an integer from 0 to"),
        ({"style": 999}, "style must be an integer from 0 to"),
        ({"style": 1.0}, "style must be an integer from 0 to"),
        ({"neatness": -0.1}, "neatness must be at least 0 and finite, got -0.1"),
        ({"neatness": float("nan")}, "neatness must be at least 0 and finite, got nan"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        write("12", **options)


def test_a_text_that_is_too_long_or_has_a_letter_is_refused():
    with pytest.raises(ValueError, match=f"at most {MAX_LENGTH} characters, got {MAX_LENGTH + 1}"):
        write("1" * (MAX_LENGTH + 1))
    with pytest.raises(ValueError, match="text has 'x'"):
        write("12x")


def test_writing_imports_nothing_that_takes_long_beside_torch(tmp_path):
    pytest.importorskip("PIL.Image")
    code = (
        "import sys; from handwriting.cli import main; status = main(sys.argv[1:])\n"
        "print(status, *{name.partition('.')[0] for name in sys.modules})\n"
        "print(*(name for name in sys.modules if name in ('torch._dynamo', 'torch._inductor')))"
    )
    command = "write", "31415 926", "--out", "pi.svg", "--png", "--gif"
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, **options)
    *_, loaded, compilers = done.stdout.split("\n")[:-1]
    assert loaded.startswith("0 ") and "torch" in loaded.split() and not compilers
    slow = {"cv2", "h5py", "matplotlib", "mlxtend", "pandas", "scipy", "sklearn", "tensorboard"}
    assert not slow & set(loaded.split())
    assert {path.name for path in tmp_path.iterdir()} == {"pi.svg", "pi.png", "pi.gif"}
