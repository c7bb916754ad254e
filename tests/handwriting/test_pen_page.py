"""docs/pen.md: its pictures are those that its script draws."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")
image = pytest.importorskip("PIL.Image")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_the_script_draws_every_picture_of_the_page(tmp_path):
    spec = importlib.util.spec_from_file_location("pen_pictures", DOCS / "pen_pictures.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.draw_pictures(tmp_path)
    drawn = {path.name: path for path in tmp_path.iterdir()}
    named = set(re.findall(r"\]\(images/(pen-[^)]+)\)", (DOCS / "pen.md").read_text()))
    assert drawn.keys() == named
    for name, path in drawn.items():
        got, kept = (_last_frame(each) for each in (path, DOCS / "images" / name))
        ink = [(np.asarray(picture) < 128).mean() for picture in (got, kept)]
        # Another processor may write other digits, but not another page.
        assert got.height == pytest.approx(kept.height, rel=0.2)
        assert 0.01 < ink[0] < 0.2 and ink[0] == pytest.approx(ink[1], rel=0.3)


def _last_frame(path):
    picture = image.open(path)
    picture.seek(getattr(picture, "n_frames", 1) - 1)
    return picture.convert("L")
