"""Hashes of what the op draws and of its gradients, in recorded_bits.json, by machine, scene, mode.

A machine is the vector width that the op's CPU code takes there and the compiler that built it.
After a change to the kernels, and a build of it, this records them anew, for narrower widths too:
    python tests/recorded_bits.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from cases import MODES, NAMED, Case, random_case

import softraster
from softraster import _C

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_suffix(".json")
COMMAND = "python tests/recorded_bits.py"
BUILT_FROM = ("setup.py", "setup_cuda.py", "pyproject.toml", "README.md", "LICENSE")

# What the widths of csrc/cpu/parallel.h ask of a processor, as /proc/cpuinfo calls it.
V3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
NEEDS = {"x86-64-v4": V4, "x86-64-v3": V3, "x86-64": set()}
CLONES = re.compile(r"__attribute__\(\(target_clones\((.*?)\)\)\)")

# The largest are drawn in bands of rows, and by several threads.
SCENES = {name: case for name, case in NAMED.items() if case.segments.numel()} | {
    f"random, {size[0]}x{size[1]}": random_case(0, shape, size)
    for shape, size in [((2, 9), (12, 16)), ((16, 30), (28, 28)), ((1, 200), (150, 210))]
}


def machine() -> str:
    """Return the name of the machine: width and compiler."""
    return f"{_widths_here()[0]}, {_compiler()}"


def _widths_here() -> list[str]:
    """What this processor can run, the widest first: the one that the extension takes."""
    if platform.machine() != "x86_64":
        return [platform.machine()]
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split()
    return [width for width, needs in NEEDS.items() if needs <= set(flags)]


def _compiler() -> str:
    """What the extension's file says of its compiler; libraries in it may name older ones."""
    text = Path(_C.__file__).read_bytes()
    found = re.findall(rb"(GCC|clang)[^\0]{0,99}?(\d+\.\d+\.\d+)", text)
    if not found:
        raise RuntimeError(f"{_C.__file__} does not say what compiled it")
    name, version = max(found, key=lambda x: [int(number) for number in x[1].split(b".")])
    return f"{name.decode()} {version.decode()}"


def _hash(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for x in tensors:
        digest.update(f"{x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def inputs_of(name: str) -> str:
    """Return the hash of a scene's inputs, which no kernel has a part in."""
    cases = [SCENES[name].dressed(*mode) for mode in MODES]
    return _hash(x for case in cases for x in case.tensors.values())


def bits_of(name: str) -> dict[str, list[str]]:
    """Return the hashes of a scene's canvases and of its gradients, by mode."""
    return {" ".join(map(str, mode)): _bits(SCENES[name], *mode) for mode in MODES}


def _bits(case: Case, coverage: str, composite: str, channels: int | None) -> list[str]:
    canvases, grads = [], []
    for dtype in (torch.float32, torch.float64):
        dressed = case.dressed(coverage, composite, channels).to(dtype)
        tensors = {n: x.clone().requires_grad_() for n, x in dressed.tensors.items()}
        rest = {n: x for n, x in tensors.items() if n not in ("segments", "softness")}
        canvas = softraster.draw_segments(
            tensors["segments"],
            tensors["softness"],
            case.size,
            coverage=coverage,
            composite=composite,
            **rest,
        )
        # Any weights that need no random numbers: -1, -1/2, 0, 1/2, 1.
        weights = (torch.arange(canvas.numel()) * 7 % 5 - 2).reshape(canvas.shape) / 2
        canvases.append(canvas)
        grads += torch.autograd.grad(canvas, list(tensors.values()), weights.to(canvas))
    return [_hash(canvases), _hash(grads)]


def record(width: str, build: Path) -> dict[str, dict[str, list[str]]]:
    """Return the bits of all scenes by an extension for `width`, built in the folder `build`."""
    _build(build, width)
    done = subprocess.run(
        [sys.executable, __file__, "--print"],
        env={**os.environ, "PYTHONPATH": str(build)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    loaded, bits = json.loads(done.stdout)
    if Path(loaded).parent.parent != build:
        raise RuntimeError(f"the build for {width} in {build} was not loaded, but {loaded}")
    return bits


def _build(folder: Path, width: str) -> None:
    """Build the extension in a copy of the sources that knows no wider clone than `width`."""
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    for name in ("csrc", "softraster"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so"))
    header = folder / "csrc" / "cpu" / "parallel.h"
    text = header.read_text()
    clones = [clone.strip(' "') for clone in CLONES.search(text)[1].split(",")]
    names = [clone.replace("default", "arch=x86-64").removeprefix("arch=") for clone in clones]
    if names != list(NEEDS):
        raise RuntimeError(f"csrc/cpu/parallel.h has clones for {names}, not {list(NEEDS)}")
    left = ", ".join(f'"{clone}"' for clone in clones[names.index(width) :])
    several = f"__attribute__((target_clones({left})))" if "," in left else ""
    header.write_text(CLONES.sub(several, text))
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "SOFTRASTER_CUDA": "0"},
        stdout=sys.stderr,
        check=True,
    )


def main() -> None:
    """Record the bits of this processor's widths, or print those of the loaded extension."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep what is recorded for other machines, which without this is dropped as outdated",
    )
    parser.add_argument("--print", action="store_true", help="write nothing")
    args = parser.parse_args()
    bits = {name: bits_of(name) for name in SCENES}
    if args.print:
        print(json.dumps([softraster.__file__, bits]))
        return
    recorded = json.loads(RECORD.read_text())["bits"] if args.add else {}
    recorded[machine()] = bits
    for width in _widths_here()[1:]:  # the first is what is loaded
        print(f"building for {width}: minutes", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            recorded[f"{width}, {_compiler()}"] = record(width, Path(folder).resolve())
    write(recorded)


def write(recorded: dict[str, dict[str, dict[str, list[str]]]]) -> None:
    """Write the record, a line for each scene in each mode."""
    inputs = {name: inputs_of(name) for name in SCENES}
    text = json.dumps({"inputs": inputs, "bits": recorded}, indent=1)
    text = re.sub(r"\[\s+(\S+)\s+(\S+)\s+\]", r"[\1 \2]", text)
    new = RECORD.with_suffix(".json.new")
    new.write_text(text + "\n")
    new.replace(RECORD)


if __name__ == "__main__":
    main()
