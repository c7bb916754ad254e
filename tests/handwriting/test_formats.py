"""Files of strokes: what is written comes back, other programs' forms, and errors that name files.

How sketch-rnn and readers of QuickDraw take a file is imitated from their documentation.
"""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strokesets import ink_of, make_set

from handwriting.files import unpack_npz
from handwriting.formats import (
    FORMATS,
    NDJSON_SIDE,
    STROKE3_SIDE,
    SUFFIXES,
    FormatError,
    format_of,
    load_strokes,
    save_strokes,
)
from handwriting.samples import load_samples

h5py = pytest.importorskip("h5py")
READABLE = [".npz", ".h5", ".stroke3.npz"]


def saved(drawn, folder, suffix, **options):
    path = folder / f"digits{suffix}"
    save_strokes(path, drawn, format_of(path), **options)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("sizes", [(48, 6), (5, 0), (0, 5)])
def test_a_set_comes_back_as_it_was(tmp_path, suffix, sizes):
    drawn = make_set(*sizes)
    loaded = load_strokes(saved(drawn, tmp_path, suffix))
    for name in ("strokes", "label", "index", "split", "failed"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(drawn, name))
        assert getattr(loaded, name).dtype == getattr(drawn, name).dtype
    assert loaded.quality.keys() == drawn.quality.keys() and loaded.meta == drawn.meta
    for name, values in drawn.quality.items():
        np.testing.assert_array_equal(loaded.quality[name], values)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_coordinates_have_16_bits_or_all_that_there_are(tmp_path, suffix):
    drawn = make_set()
    fine = replace(drawn, strokes=drawn.strokes * np.array((0.7317, 0.7317, 1), np.float32))
    exact = load_strokes(saved(fine, tmp_path, suffix, bits=32)).strokes
    np.testing.assert_array_equal(exact, fine.strokes.astype(np.float32))
    rough = load_strokes(saved(fine, tmp_path, suffix)).strokes
    assert 0 < np.abs(rough - exact)[..., :2].max() < 2**-11
    assert set(np.unique(rough[..., 2])) == set(np.unique(exact[..., 2]))


def test_the_arrays_have_the_documented_names_and_types(tmp_path):
    drawn = make_set()
    arrays = np.load(saved(drawn, tmp_path, ".npz"))
    texts = {"meta", "checksum"}
    assert {name: arrays[name].dtype.name for name in arrays if name not in texts} == {
        "format_version": "int64",
        **{"strokes": "float16", "label": "uint8", "index": "int32", "split": "uint8"},
        **{"failed": "bool", **{f"quality/{name}": "float32" for name in drawn.quality}},
    }
    assert json.loads(str(arrays["meta"])) == drawn.meta
    with h5py.File(saved(drawn, tmp_path, ".h5")) as file:
        assert sorted(file) == ["test", "train"] and json.loads(file.attrs["meta"]) == drawn.meta
        np.testing.assert_array_equal(file["test/strokes"], drawn.strokes[-6:])
        np.testing.assert_array_equal(file["train/quality/cnn"], drawn.quality["cnn"][:48])
        assert file["train/strokes"].compression == "gzip"
        assert file["train/strokes"].dtype == np.float16 and "split" not in file["train"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_set_gives_the_same_bytes(tmp_path, suffix):
    first = saved(make_set(), tmp_path, suffix).read_bytes()
    assert saved(make_set(), tmp_path, suffix).read_bytes() == first


def test_an_exported_npz_is_a_file_of_samples(tmp_path):
    drawn = make_set(points=20)
    samples = load_samples(saved(drawn, tmp_path, ".npz"))
    np.testing.assert_array_equal(samples.strokes, drawn.strokes)
    assert samples.labels.tolist() == drawn.label.tolist()


def test_sketch_rnn_finds_its_three_parts_without_pickles(tmp_path):
    drawn = make_set()
    parts = np.load(saved(drawn, tmp_path, ".stroke3.npz"), encoding="latin1")
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [46, 2, 6]
    together = np.concatenate((parts["train"], parts["valid"], parts["test"]))
    labels = np.concatenate([parts[f"{name}_label"] for name in ("train", "valid", "test")])
    assert together.dtype == np.int16 and labels.tolist() == drawn.label.tolist()
    for drawing, offsets in zip(drawn.strokes, together, strict=True):
        # The way of magenta's strokes_to_lines: walk the offsets, end a line at each 1.
        x, y, lines = 0, 0, [[]]
        for dx, dy, lifted in offsets.tolist():
            x, y = x + dx, y + dy
            lines[-1].append((x / STROKE3_SIDE, y / STROKE3_SIDE))
            if lifted:
                lines.append([])
        assert lines.pop() == []
        rebuilt = [(*p, n == len(line)) for line in lines for n, p in enumerate(line, 1)]
        scaled = drawing.astype(np.float64) * (STROKE3_SIDE, STROKE3_SIDE, 1)
        wanted = scaled.round() / (STROKE3_SIDE, STROKE3_SIDE, 1)
        assert ink_of(np.array(rebuilt)) == ink_of(wanted)


def test_stroke_3_is_read_back_within_half_a_unit(tmp_path):
    drawn = make_set()
    loaded = load_strokes(saved(drawn, tmp_path, ".stroke3.npz"))
    for name in ("label", "index", "split", "failed"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(drawn, name))
    assert loaded.quality == {} and loaded.meta == drawn.meta
    whole = (drawn.strokes[:, :-1, 2] == 0).all(axis=1)  # nothing in the air
    np.testing.assert_allclose(
        loaded.strokes[whole], drawn.strokes[whole], atol=0.5 / STROKE3_SIDE + 1e-6
    )


def test_ndjson_has_quickdraws_keys_and_lists_in_a_box_of_255(tmp_path):
    drawn = make_set()
    lines = saved(drawn, tmp_path, ".ndjson").read_text().splitlines()
    assert len(lines) == 54
    entries = [json.loads(line) for line in lines]
    assert len({entry["key_id"] for entry in entries}) == 54
    for number, entry in enumerate(entries):
        assert {"word", "countrycode", "timestamp", "recognized", "key_id"} <= entry.keys()
        assert entry["word"] == str(drawn.label[number]) and int(entry["key_id"]) >= 0
        assert entry["recognized"] is bool(drawn.quality["cnn"][number])
        assert entry["failed"] is bool(drawn.failed[number])
        assert entry["split"] == ("test" if number >= 48 else "train")
        assert entry["index"] == drawn.index[number]
        rows = [
            (*p, n == len(x))
            for x, y in entry["drawing"]
            for n, p in enumerate(zip(x, y, strict=True), 1)
        ]
        points = np.array(rows)[:, :2]
        assert points.min(axis=0).tolist() == [0, 0] and points.max() == NDJSON_SIDE
        wanted = np.array(sorted(ink_of(drawn.strokes[number])))
        low = wanted.reshape(-1, 2).min(axis=0)
        size = np.ptp(wanted.reshape(-1, 2), axis=0).max()
        wanted = (wanted - np.tile(low, 2)) / size * NDJSON_SIDE
        got = np.array(sorted(ink_of(np.array(rows))))
        # Each segment that is not smaller than a pixel is there, to a pixel.
        long = np.hypot(*(wanted[:, 2:] - wanted[:, :2]).T) > 2
        apart = np.abs(wanted[long, None] - got[None]).max(axis=2).min(axis=1)
        assert (apart <= 0.51).all()


def test_a_drawing_without_ink_has_no_strokes(tmp_path):
    drawn = make_set(1, 0)
    drawn.strokes[..., 2] = 1
    (line,) = saved(drawn, tmp_path, ".ndjson").read_text().splitlines()
    assert json.loads(line)["drawing"] == []


def test_the_format_is_that_of_the_suffix_or_the_one_named():
    got = {suffix: format_of(Path(f"a{suffix}")) for suffix in SUFFIXES}
    assert got == SUFFIXES and format_of(Path("A.NPZ")) == "npz"
    assert format_of(Path("a.txt"), "ndjson") == "ndjson"
    with pytest.raises(ValueError, match=r"out must end in \.h5, .*; got a\.txt"):
        format_of(Path("a.txt"))
    with pytest.raises(ValueError, match=rf"one of {', '.join(FORMATS)}, got 'csv'"):
        format_of(Path("a.npz"), "csv")


@pytest.mark.parametrize("suffix", READABLE)
def test_damaged_files_are_named(tmp_path, suffix):
    path = saved(make_set(), tmp_path, suffix)
    whole = path.read_bytes()
    for data in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=rf"^{re.escape(str(path))}: damaged, "):
            load_strokes(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_strokes(tmp_path / f"absent{suffix}")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("strokes", np.zeros((54, 9, 2)), r"strokes have shape \(54, 9, 2\)"),
        ("strokes", np.full((54, 9, 3), np.nan), "x and y must be finite"),
        ("strokes", np.full((54, 9, 3), 0.5), "lifted must be 0 or 1"),
        ("label", np.full(54, 10), "labels must be 0 to 9"),
        ("label", np.zeros(53), r"label has shape \(53,\)"),
        ("split", np.full(54, 2), "splits 0 or 1"),
        ("index", None, "it lacks 'index'"),
        ("label", np.full(54, "4"), "holds <U1 where numbers must be"),
        ("quality/cnn", np.zeros(53), r"the metric cnn is float64 of shape \(53,\)"),
        ("quality/cnn", np.zeros(54, int), "the metric cnn is int64"),
        ("meta", "{", "damaged"),
        ("meta", "[]", "meta must be an object, got list"),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, name, value, says):
    path = saved(make_set(), tmp_path, ".npz")
    arrays = unpack_npz(path)
    del arrays[name]
    packed = io.BytesIO()
    np.savez(packed, **arrays, **({} if value is None else {name: value}))
    path.write_bytes(packed.getvalue())
    with pytest.raises(FormatError, match=says):
        load_strokes(path)


def test_what_is_not_read_back_is_said(tmp_path):
    path = saved(make_set(), tmp_path, ".ndjson")
    with pytest.raises(FormatError, match=r"digits\.ndjson: strokes are read from \.npz, \.h5"):
        load_strokes(path)
