"""Whether setup.py builds the CUDA kernels, with which nvcc, and for which GPUs. Imports no torch.

SOFTRASTER_CUDA: "auto", the default, builds them wherever nvcc and its headers are, under a torch
without CUDA too; "1" fails where they are not; "0" leaves the kernels out. SOFTRASTER_CUDA_ARCHS:
compute capabilities, "80;90" unless set; the last one also as PTX, for the GPUs of the future.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STANDARD_ROOT = "/usr/local/cuda"
DEFAULT_ARCHS = "80;90"


class NoToolkit(Exception):
    """Why there is no CUDA toolkit, as part of a sentence."""


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit that compiles."""

    root: str  # the folder of bin/nvcc
    library_dirs: tuple[str, ...]

    @property
    def link_args(self) -> list[str]:
        """CUDA's runtime, static: the library then loads under any torch, with CUDA or without.

        libtorch.so stays a dependency although no symbol of it is used: under a torch with CUDA it
        brings libtorch_cuda.so, whose current stream ops.cpp asks for, into reach.
        """
        runtime = ["-l:libcudart_static.a", "-ldl", "-lrt", "-lpthread"]
        return [*runtime, "-Wl,--no-as-needed", "-ltorch"]


def read_mode(environ: Mapping[str, str]) -> str:
    """Return SOFTRASTER_CUDA: "auto", "1" or "0". Anything else ends the build."""
    mode = environ.get("SOFTRASTER_CUDA") or "auto"
    if mode not in ("auto", "1", "0"):
        raise SystemExit(f"softraster: SOFTRASTER_CUDA must be auto, 1 or 0, got {mode!r}")
    return mode


def read_archs(environ: Mapping[str, str]) -> list[str]:
    """Return the compute capabilities of SOFTRASTER_CUDA_ARCHS. Anything else ends the build."""
    text = environ.get("SOFTRASTER_CUDA_ARCHS") or DEFAULT_ARCHS
    archs = text.split(";")
    if not all(re.fullmatch(r"[1-9][0-9]{1,2}[af]?", arch) for arch in archs):
        raise SystemExit(
            "softraster: SOFTRASTER_CUDA_ARCHS must be compute capabilities joined by semicolons,"
            f" such as {DEFAULT_ARCHS}, got {text!r}"
        )
    return archs


def find_toolkit(environ: Mapping[str, str]) -> Toolkit:
    """Return the toolkit of CUDA_HOME or CUDA_PATH, else of the nvcc on PATH, else STANDARD_ROOT.

    nvcc itself says where its toolkit is: on PATH there may be a script in another folder.

    Raises:
        NoToolkit: there is no nvcc, or it does not find its own headers.
    """
    home = environ.get("CUDA_HOME") or environ.get("CUDA_PATH")
    on_path = None if home else shutil.which("nvcc", path=environ.get("PATH"))
    nvcc = on_path or os.path.join(home or STANDARD_ROOT, "bin", "nvcc")
    command = [nvcc, "-v", "-E", "-x", "cu", os.devnull]
    try:
        said = subprocess.run(command, capture_output=True, text=True, env={**environ})
    except OSError as error:
        raise NoToolkit(f"{nvcc} does not run ({error.strerror})") from None
    names = dict(re.findall(r"^#\$ (\w+)=[ \t]*(.*?)[ \t]*$", said.stderr, re.MULTILINE))
    if said.returncode != 0 or "TOP" not in names:
        lines = said.stderr.strip().splitlines() or ["no output"]
        raise NoToolkit(f"{nvcc} does not preprocess an empty file ({lines[-1]})")
    folders = [word[2:] for word in shlex.split(names.get("LIBRARIES", "")) if word[:2] == "-L"]
    return Toolkit(
        root=str(Path(names["TOP"]).resolve()),
        library_dirs=tuple(str(Path(folder).resolve()) for folder in folders),
    )


def choose_toolkit(environ: Mapping[str, str]) -> Toolkit | None:
    """Return what to build the kernels with, or None to leave them out; say which and why."""
    mode = read_mode(environ)
    toolkit, reason = None, "SOFTRASTER_CUDA=0"
    if mode != "0":
        try:
            toolkit = find_toolkit(environ)
        except NoToolkit as error:
            reason = str(error)
    if toolkit is None and mode == "1":
        raise SystemExit(
            f"softraster: SOFTRASTER_CUDA=1 needs CUDA's compiler, but {reason}: install the CUDA"
            " toolkit and set CUDA_HOME to its folder, or set SOFTRASTER_CUDA=0"
        )
    print(
        f"softraster: CUDA kernels with {toolkit.root}, for {';'.join(read_archs(environ))}"
        if toolkit
        else f"softraster: no CUDA kernels: {reason}"
    )
    return toolkit


def nvcc_args(archs: list[str]) -> list[str]:
    """Return nvcc's arguments: machine code for every one of archs, and PTX of the last."""
    code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    newest = f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"
    host = ["-Xcompiler", "-fvisibility=hidden"]
    return ["-O3", "-std=c++17", "-lineinfo", "--expt-relaxed-constexpr", *host, *code, newest]
