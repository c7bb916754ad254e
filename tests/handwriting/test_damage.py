"""Files that are damaged, cut short, of another kind or of a later version are named as such.

Our own formats are never read wrongly: what is damaged is refused, or is where nothing is said.
"""

import ast
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from file_kinds import DAMAGES, KINDS, STYLES, checkpoint_of, damages, same, samples
from strokesets import make_set

import handwriting
from handwriting import checkpoint as checkpoints
from handwriting import donors, export, files
from handwriting.checkpoint import CheckpointError
from handwriting.formats import FormatError, load_strokes
from handwriting.models.line_model import LineModel, LineModelConfig
from handwriting.models.pen import Pen, PenConfig
from handwriting.models.writer import Writer, WriterConfig
from handwriting.reader import reader_of
from handwriting.samples import SampleError, read_drawings

h5py = pytest.importorskip("h5py")
safetensors_torch = pytest.importorskip("safetensors.torch")

OURS = [kind for kind in KINDS if kind.checked and not kind.name.endswith(".gz")]


def named(kinds):
    return pytest.mark.parametrize("kind", kinds, ids=[kind.name for kind in kinds])


@pytest.fixture
def made(kind, tmp_path, monkeypatch):
    """A sound file of a kind."""
    path = tmp_path / kind.name
    monkeypatch.setattr(donors, "STYLES_FILE", path)
    kind.make(path)
    return path


def refusal(kind, path):
    """The message with which a file is refused, checked to be one line that names it; or None."""
    try:
        return None, kind.read(path)
    except kind.error as error:
        message = str(error)
        assert str(path) in message and "\n" not in message, message
        return message, None


@named(KINDS)
def test_damaged_files_are_refused_by_name_or_read_right(kind, made):
    whole, sound = made.read_bytes(), kind.read(made)
    refused = wrong = 0
    for data in damages(whole):
        made.write_bytes(data)
        message, got = refusal(kind, made)
        refused += message is not None
        wrong += message is None and not same(got, sound)
    assert refused > 0
    if kind.checked:
        assert wrong == 0
    made.write_bytes(whole)
    assert same(kind.read(made), sound)


@named([kind for kind in KINDS if kind.name.endswith("h5")])
def test_hdf5_files_of_other_programs_are_refused_when_damaged(kind, made, tmp_path):
    """Those have no checksum: what HDF5 itself notices is said in the same class of error."""
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(made.read_bytes()[512 if kind.checked else 0 :])
    sound, whole = kind.read(foreign), foreign.read_bytes()
    assert same(sound, kind.read(made))
    for length in range(0, len(whole) - 64, len(whole) // 20):
        foreign.write_bytes(whole[:length])
        assert refusal(kind, foreign)[0] is not None


def test_a_part_of_an_export_that_is_damaged_is_drawn_again_or_right(tmp_path):
    part = export._Part("train", 0, 6)
    path = tmp_path / part.name
    arrays = {"strokes": make_set().strokes[:6], "f1": np.linspace(0, 1, 6)}
    export._write_part(tmp_path, part, "key", arrays)
    whole = path.read_bytes()
    again = 0
    for data in damages(whole):
        path.write_bytes(data)
        try:
            with pytest.warns(UserWarning, match=r"train-000000\.npz: .*drawn again"):
                assert export._read_part(tmp_path, part, "key") is None
            again += 1
        except pytest.fail.Exception:  # no warning
            assert same(export._read_part(tmp_path, part, "key"), arrays)
    assert again > DAMAGES // 2


# Kinds that are one kind to what reads them.
ALIKE = (
    {"checkpoint.safetensors", "rung9.safetensors", "pen.safetensors"},
    {"digits.npz", "digits.stroke3.npz"},
    {"samples.npz", "digits.npz"},
)


@named(OURS)
def test_files_of_other_kinds_are_refused_by_name(kind, made, tmp_path):
    others = {other.name: other for other in KINDS if other.name != kind.name}
    for alike in ALIKE:
        if alike == {"samples.npz", "digits.npz"} and kind.name != "samples.npz":
            continue  # an exported file is one of samples, but not the other way round
        if kind.name in alike:
            others = {name: other for name, other in others.items() if name not in alike}
    found = {}
    for name, other in others.items():
        elsewhere = tmp_path / "other"
        elsewhere.mkdir(exist_ok=True)
        other.make(elsewhere / name)
        found[name] = (elsewhere / name).read_bytes()
    found |= {"nothing": b"", "text": b"text\n", "picture": b"\x89PNG\r\n\x1a\n" * 9}
    found |= {"object": b"{}", "list": b"[1]", "zip": zip_of({"strokes.npy": b"no array"})}
    for name, data in found.items():
        made.write_bytes(data)
        message, got = refusal(kind, made)
        assert message is not None, (name, got)


def zip_of(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_a_model_of_another_kind_is_refused_by_name(tmp_path):
    models = {
        "writer": Writer(WriterConfig(units=3, points=2)),
        "line_model": LineModel(LineModelConfig()),
        "pen": Pen(PenConfig(units=4)),
    }
    loads = {name: getattr(checkpoints, f"load_{name}") for name in models}
    for held, model in models.items():
        path = tmp_path / f"{held}.safetensors"
        checkpoint_of(model, path)
        for wanted, load in loads.items():
            if wanted == held:
                load(path)
                continue
            with pytest.raises(CheckpointError, match=f"{held}.safetensors: holds a .*, not a "):
                load(path)


def later(path):
    """Make a file be of a later version than ours, and sound otherwise."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        with safetensors_torch.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {**file.metadata(), "version": "3"}
        checkpoints.save_tensors(path, tensors, metadata)
    elif path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(data), "format_version": 2}))
    elif path.suffix == ".h5":
        path.write_bytes(data.replace(b"format 1", b"format 2", 1))
    else:
        with np.load(path) as file:
            arrays = {**file, "format_version": 2}
        np.savez(path, **arrays)


@named([kind for kind in OURS if kind.name != "reader.safetensors"])
def test_files_of_a_later_version_are_said_to_be_that(kind, made):
    later(made)
    message, _ = refusal(kind, made)
    assert message is not None and "version" in message and "this program reads 1" in message


def test_what_was_edited_on_purpose_can_be_read(tmp_path):
    path = tmp_path / "samples.json"
    samples(path)
    held = json.loads(path.read_text())
    del held["drawings"][0]
    path.write_text(json.dumps(held))
    with pytest.raises(SampleError, match='if it was edited on purpose, take "checksum" out'):
        read_drawings(path)
    del held["checksum"]
    path.write_text(json.dumps(held))
    assert read_drawings(path)[1] == [7]


def test_what_the_package_ships_is_sound_and_marked():
    found = sorted(file for file in STYLES.parent.rglob("*") if file.is_file())
    assert len(found) >= 6
    for file in found:
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                assert "checksum" in arrays
            files.unpack_npz(file)
        else:
            with safetensors_torch.safe_open(file, framework="pt") as tensors:
                assert "checksum" in tensors.metadata()
            (reader_of if file.name == "reader.safetensors" else checkpoints.load)(file)


class Trap:
    """Something that makes a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "unpickled"
    traps = np.array([Trap(mark)], dtype=object)
    pickle.loads(pickle.dumps(traps))
    assert mark.exists()
    mark.unlink()
    packed = io.BytesIO()
    np.savez(packed, strokes=traps, label=traps, style=traps, valid=traps)
    for name, read, error in (
        ("a.npz", load_strokes, FormatError),
        ("a.npz", read_drawings, SampleError),
        ("a.h5", load_strokes, FormatError),
        ("a.json", read_drawings, SampleError),
        ("a.safetensors", checkpoints.load, CheckpointError),
        ("a.safetensors", reader_of, CheckpointError),
    ):
        for data in (packed.getvalue(), pickle.dumps(traps)):
            path = tmp_path / name
            path.write_bytes(data)
            with pytest.raises(error, match=name):
                read(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        text = np.array([pickle.dumps(traps).hex()] * 3, dtype=h5py.string_dtype())
        for name in ("data", "labels"):
            file[name] = text
        for name in ("strokes", "label", "index", "failed"):
            file[f"train/{name}"] = text
        file.attrs["meta"] = "{}"
    with pytest.raises(FormatError, match="numbers must be"):
        load_strokes(tmp_path / "b.h5")
    with pytest.raises(SampleError, match="points must be numbers"):
        read_drawings(tmp_path / "b.h5")
    assert not mark.exists()


def test_no_source_has_a_call_that_unpickles():
    """numpy alone may, and does so where it is told to; torch.load does by default in old torch."""
    seen = 0
    for source in Path(handwriting.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert names.isdisjoint({"pickle", "shelve", "marshal", "joblib"}), source
            elif isinstance(node, ast.Call):
                seen += 1
                called = ast.unparse(node.func)
                assert called not in {"torch.load", "eval", "exec", "np.fromfile"}, source
                allowed = {word.arg: word.value for word in node.keywords}.get("allow_pickle")
                assert allowed is None or allowed.value is False, source
    assert seen > 1000
