"""Previews: which digits, what is drawn of them, and what a machine without a screen says."""

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from strokesets import make_set

from handwriting.animation import SIDE as GIF_SIDE
from handwriting.cli import main
from handwriting.formats import save_strokes
from handwriting.show import SIDE, ShowConfig, choose, sheet, show

image_module = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


@pytest.fixture
def file(tmp_path):
    save_strokes(tmp_path / "a.npz", make_set(), "npz")
    return tmp_path / "a.npz"


def pixels(png):
    return np.asarray(image_module.open(io.BytesIO(png))).astype(int)


def test_a_sheet_has_ten_digits_in_a_row_each_where_its_points_are():
    strokes = np.zeros((12, 2, 3), np.float32)
    strokes[:, :, 0] = 0.25
    strokes[:, 0, 1], strokes[:, 1, 1] = 0.25, 0.75
    strokes[:, 1, 2] = 1
    strokes[3, 0, 2] = 1  # nothing drawn
    picture = pixels(sheet(strokes, np.zeros(12, bool)))
    assert picture.shape == (2 * SIDE, 10 * SIDE, 3)
    cells = picture.reshape(2, SIDE, 10, SIDE, 3).swapaxes(1, 2).reshape(20, SIDE, SIDE, 3)
    ink = cells.max(axis=3) > 60
    assert [bool(cell.any()) for cell in ink] == [n < 12 and n != 3 for n in range(20)]
    rows, columns = np.nonzero(ink[0])
    assert rows.min() == pytest.approx(SIDE / 4, abs=3) and columns.mean() == pytest.approx(
        SIDE / 4, abs=1
    )
    assert rows.max() == pytest.approx(3 * SIDE / 4, abs=3)


def test_ink_turns_from_violet_to_yellow_and_bad_digits_have_a_red_ground():
    strokes = np.zeros((2, 5, 3), np.float32)
    strokes[..., 0], strokes[..., 1] = np.linspace(0.1, 0.9, 5), 0.5
    strokes[:, -1, 2] = 1
    picture = pixels(sheet(strokes, np.array([False, True])))
    start, end = picture[SIDE // 2, SIDE // 8], picture[SIDE // 2, 7 * SIDE // 8]
    assert start[2] > start[1] + 60 and end[0] > 200 and end[1] > end[2] + 60
    plain, failed = picture[2, 2], picture[2, SIDE + 2]
    assert np.ptp(plain) < 15 and failed[0] > failed[1:].max() + 40


def test_digits_are_chosen_class_by_class_from_those_that_are_asked_for(tmp_path):
    drawn = make_set()
    some = choose(drawn, ShowConfig(tmp_path, count=20))
    assert some.label.tolist() == [*range(10), *range(10)] and len(set(some.index)) > 10
    again = choose(drawn, ShowConfig(tmp_path, count=20))
    np.testing.assert_array_equal(again.strokes, some.strokes)
    other = choose(drawn, ShowConfig(tmp_path, count=20, seed=1))
    assert other.index.tolist() != some.index.tolist()
    assert choose(drawn, ShowConfig(tmp_path, failed=True)).failed.all()
    assert set(choose(drawn, ShowConfig(tmp_path, label=4)).label) == {4}
    test = choose(drawn, ShowConfig(tmp_path, split="test"))
    assert sorted(test.index) == list(range(6)) and test.split.all()
    with pytest.raises(ValueError, match="has no such digit"):
        choose(drawn, ShowConfig(tmp_path, split="test", label=5))


def test_pictures_are_written_and_named(file, tmp_path, capsys):
    png, gif = tmp_path / "new" / "a.png", tmp_path / "a.gif"
    config = ShowConfig(file, png, gif, count=30)
    assert show(config) == [png, gif]
    assert capsys.readouterr().out.split() == [str(png), str(gif)]
    assert pixels(png.read_bytes()).shape == (3 * SIDE, 10 * SIDE, 3)
    with image_module.open(gif) as animation:
        assert animation.size == (10 * GIF_SIDE, GIF_SIDE) and animation.n_frames > 8
    before = png.read_bytes(), gif.read_bytes()
    show(config)
    assert (png.read_bytes(), gif.read_bytes()) == before


def test_without_a_screen_it_says_so(file, capsys):
    import matplotlib.pyplot

    matplotlib.pyplot.switch_backend("agg")
    assert show(ShowConfig(file, window=True)) == []
    assert "no screen" in capsys.readouterr().err
    assert not matplotlib.pyplot.get_fignums()


def test_a_window_shows_a_digit_until_it_is_closed(file, monkeypatch):
    from matplotlib.backend_bases import FigureManagerBase
    from matplotlib.backends import backend_agg

    shown = []

    class Manager(FigureManagerBase):
        def set_window_title(self, title):
            self.canvas.title = title

        @classmethod
        def pyplot_show(cls, *, block=None):
            import matplotlib.pyplot

            canvas = matplotlib.pyplot.gcf().canvas
            canvas.draw()
            shown.append((canvas.title, np.asarray(canvas.buffer_rgba())))

    class Canvas(backend_agg.FigureCanvasAgg):
        manager_class = Manager
        required_interactive_framework = None

    module = types.ModuleType("a_screen")
    module.FigureCanvas, module.FigureManager = Canvas, Manager
    monkeypatch.setitem(sys.modules, "a_screen", module)
    import matplotlib.pyplot

    matplotlib.pyplot.switch_backend("module://a_screen")
    try:
        show(ShowConfig(file, window=True, label=3))
    finally:
        matplotlib.pyplot.switch_backend("agg")
    ((title, picture),) = shown
    assert title.startswith("a 3, ") and picture[..., :3].max() > 150


def test_the_command_shows_a_file(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", str(file), "--png", "b.png", "--count", "10"]) == 0
    assert capsys.readouterr().out.split() == ["b.png"] and not Path("a.gif").exists()
    assert main(["show", str(tmp_path / "absent.npz"), "--png", "b.png"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "absent.npz" in lines[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"png": Path("a.jpg")}, r"png must be the name of a \.png file, got a\.jpg"),
        ({"gif": Path("a.png")}, r"gif must be the name of a \.gif file, got a\.png"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"split": "both"}, "split must be train, test or all, got 'both'"),
        ({"label": 10}, "label must be 0 to 9, got 10"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_options_are_refused_by_name(options, says):
    with pytest.raises(ValueError, match=says):
        ShowConfig(Path("a.npz"), **options)
