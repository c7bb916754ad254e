"""Compiles csrc/cuda/*.cu and the emulator with g++ into a Python module, once for each state.

Modules stay under build/cuda_emulator, named by a hash of all that goes into them. What the module
offers is bindings.cpp's to say.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.machinery
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pybind11

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "cuda_emulator"
JOBS = 2
# The arithmetic is setup.py's for the CPU.
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
PLAIN = ["-O2"]
SANITIZED = ["-O1", "-g1", "-fno-omit-frame-pointer"]
SANITIZED += ["-fsanitize=address,undefined,float-cast-overflow"]


def compiler() -> list[str]:
    """Return the command of the C++ compiler: $CXX, or g++."""
    return shlex.split(os.environ.get("CXX") or "g++")


def _sources() -> list[Path]:
    kernels = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    if not kernels:
        raise RuntimeError(f"no kernels under {ROOT / 'csrc' / 'cuda'}")
    return kernels + sorted(HERE.glob("*.cu")) + sorted(HERE.glob("*.cpp"))


def _flags(sanitize: bool) -> list[str]:
    folders = [ROOT / "csrc", ROOT / "csrc" / "cuda", HERE, pybind11.get_include()]
    folders.append(sysconfig.get_path("include"))
    return [*FLAGS, *(SANITIZED if sanitize else PLAIN), *(f"-I{folder}" for folder in folders)]


def _key(sanitize: bool) -> str:
    """Hash of the sources, headers, flags and versions that make a module."""
    version = subprocess.run([*compiler(), "--version"], capture_output=True, check=True).stdout
    files = [*_sources(), *sorted((ROOT / "csrc").rglob("*.h")), *sorted(HERE.glob("*.h"))]
    digest = hashlib.sha256(version)
    digest.update(repr((_flags(sanitize), pybind11.__version__, sys.version)).encode())
    for file in files:
        digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}{done.stderr}")


def _compile(module: Path, sanitize: bool) -> None:
    flags = _flags(sanitize)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        steps, objects = [], []
        for source in _sources():
            objects.append(str(Path(folder, f"{source.parent.name}-{source.name}.o")))
            steps.append([*compiler(), *flags, "-x", "c++", "-c", str(source), "-o", objects[-1]])
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(_run, steps))
        linked = str(Path(folder, module.name))
        _run([*compiler(), *flags, "-shared", *objects, "-o", linked])
        os.replace(linked, module)


def build(sanitize: bool = False) -> Path:
    """Return the module's file, compiled if it is not there yet.

    Args:
        sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer. Only a process that has
            libasan preloaded can import such a module.

    Raises:
        RuntimeError: the compiler failed; with its command and what it printed.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits for the module of the first
        module = FOLDER / f"{'sanitized' if sanitize else 'plain'}-{_key(sanitize)}.so"
        if not module.exists():
            _compile(module, sanitize)
    return module


def load(file: Path) -> ModuleType:
    """Import the module of a file that build() returned."""
    loader = importlib.machinery.ExtensionFileLoader("cuda_emulator", str(file))
    spec = importlib.util.spec_from_loader("cuda_emulator", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
