"""What the build does under its variables, and with which toolkit; what a source archive holds."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import softraster

ROOT = Path(__file__).parent.parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


setup_cuda = load(ROOT / "setup_cuda.py")


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def make_toolkit(folder):
    """A toolkit of an nvcc that says where it is, as the real one does."""
    write_script(
        folder / "bin" / "nvcc",
        f"""echo '#$ TOP={folder}/bin/..' >&2
        echo '#$ LIBRARIES=  "-L{folder}/lib/stubs" "-L{folder}/lib"' >&2""",
    )
    return folder


def test_the_toolkit_is_that_of_the_nvcc_on_the_path_behind_any_script(tmp_path):
    real = make_toolkit(tmp_path / "real")
    write_script(tmp_path / "bin" / "nvcc", f'exec {real}/bin/nvcc "$@"')
    found = setup_cuda.find_toolkit({"PATH": f"{tmp_path}/bin"})
    assert found.root == str(real)
    assert found.library_dirs == (f"{real}/lib/stubs", f"{real}/lib")


@pytest.mark.parametrize("name", ["CUDA_HOME", "CUDA_PATH"])
def test_a_toolkit_that_is_named_comes_before_the_path(tmp_path, name):
    named, on_path = (make_toolkit(tmp_path / kind) for kind in ("named", "path"))
    path = f"{on_path}/bin"
    assert setup_cuda.find_toolkit({"PATH": path}).root == str(on_path)
    assert setup_cuda.find_toolkit({"PATH": path, name: str(named)}).root == str(named)


def test_without_nvcc_anywhere_kernels_are_left_out_unless_insisted_on(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(setup_cuda, "STANDARD_ROOT", str(tmp_path / "cuda"))
    environ = {"PATH": str(tmp_path)}
    assert setup_cuda.choose_toolkit(environ) is None
    assert f"no CUDA kernels: {tmp_path}/cuda/bin/nvcc does not run" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"SOFTRASTER_CUDA=1 needs .* set CUDA_HOME"):
        setup_cuda.choose_toolkit({**environ, "SOFTRASTER_CUDA": "1"})
    standard = make_toolkit(tmp_path / "cuda")
    assert setup_cuda.choose_toolkit(environ).root == str(standard)


def test_an_nvcc_that_lacks_its_headers_does_not_count(tmp_path, capsys):
    write_script(tmp_path / "bin" / "nvcc", "echo 'cuda_runtime.h: No such file' >&2; exit 1")
    assert setup_cuda.choose_toolkit({"CUDA_HOME": str(tmp_path), "PATH": ""}) is None
    assert "cuda_runtime.h: No such file" in capsys.readouterr().out


def test_zero_leaves_kernels_out_where_there_is_an_nvcc(tmp_path):
    home = str(make_toolkit(tmp_path))
    assert setup_cuda.choose_toolkit({"CUDA_HOME": home, "PATH": ""}) is not None
    environ = {"CUDA_HOME": home, "PATH": "", "SOFTRASTER_CUDA": "0"}
    assert setup_cuda.choose_toolkit(environ) is None


@pytest.mark.parametrize("mode", ["yes", "2", "AUTO", " 1"])
def test_another_mode_is_an_error_that_names_the_variable(mode):
    with pytest.raises(SystemExit, match=rf"SOFTRASTER_CUDA must be auto, 1 or 0, got '{mode}'"):
        setup_cuda.read_mode({"SOFTRASTER_CUDA": mode})


@pytest.mark.parametrize("archs", ["80,90", "80;", "sm_80", "8.0", "80 90"])
def test_other_architectures_are_an_error_that_names_the_variable(archs):
    with pytest.raises(SystemExit, match=rf"SOFTRASTER_CUDA_ARCHS must be .* got '{archs}'"):
        setup_cuda.read_archs({"SOFTRASTER_CUDA_ARCHS": archs})


def test_a_variable_that_is_empty_is_as_one_that_is_not_set():
    assert setup_cuda.read_mode({"SOFTRASTER_CUDA": ""}) == setup_cuda.read_mode({}) == "auto"
    assert setup_cuda.read_archs({"SOFTRASTER_CUDA_ARCHS": ""}) == ["80", "90"]


def test_each_architecture_gets_machine_code_and_the_last_one_ptx():
    codes = [arg for arg in setup_cuda.nvcc_args(["75", "90a"]) if "gencode" in arg]
    assert codes == [
        "-gencode=arch=compute_75,code=sm_75",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_90a,code=compute_90a",
    ]


def test_the_source_distribution_has_what_the_build_reads(tmp_path):
    commands = ["egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path]
    subprocess.run(
        [sys.executable, "setup.py", "-q", *commands],
        cwd=ROOT,
        env={**os.environ, "SOFTRASTER_CUDA": "0"},
        check=True,
        capture_output=True,
    )
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    native = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("csrc/**/*.*")}
    assert any(name.endswith(".cu") for name in native)
    assert native | {"setup.py", "setup_cuda.py", "pyproject.toml"} <= packed


def test_without_a_gpu_the_gpu_check_ends_at_once_and_says_so(tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "gpu_check.sh"), str(tmp_path / "report")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "finds no CUDA device" in done.stderr
    assert not (tmp_path / "report").exists()


def test_the_version_of_the_package_is_that_of_its_distribution():
    assert softraster.__version__ == importlib.metadata.version("softraster")
