"""Builds softraster._C against the torch that is installed; everything else is in pyproject.toml.

pip's isolated build hides the installed torch, and asking for one in pyproject.toml would fetch a
second one of several GB: so its folder is put back on the path here. Whether CUDA kernels are built
is setup_cuda.py's to say.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import setup

try:
    import torch
except ImportError:
    sys.path.append(sysconfig.get_path("purelib"))
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SystemExit(
            "softraster: install torch first (pip install 'torch>=2.10'), then run pip install"
            " again (uv: with --no-build-isolation)"
        ) from None

from torch.utils import cpp_extension

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT))  # pip's isolated build leaves it out

import setup_cuda  # noqa: E402


class BuildSoftraster(cpp_extension.BuildExtension):
    """Keeps the objects under build/, so that ninja compiles only what changed since."""

    def finalize_options(self) -> None:
        """Fix the folder of the objects, which pip would put somewhere temporary."""
        super().finalize_options()
        self.build_temp = str(ROOT / "build" / f"objects-{sys.implementation.cache_tag}")
        self.force = (
            True  # ask ninja each time: setuptools' own test knows neither flags nor headers
        )

    def build_extensions(self) -> None:
        """Compile; CUDA objects older than a header anew, which ninja may not notice."""
        newest = max(header.stat().st_mtime for header in (ROOT / "csrc").rglob("*.h"))
        for compiled in Path(self.build_temp).glob("csrc/cuda/*.o"):
            if compiled.stat().st_mtime < newest:
                compiled.unlink()
        super().build_extensions()


def extension() -> cpp_extension.CppExtension:
    """Return softraster._C, with CUDA kernels where they can be built."""
    cpu = ("forward", "backward", "over", "segment_lanes")
    sources = ["csrc/ops.cpp", *(f"csrc/cpu/{name}.cpp" for name in cpu)]
    cxx = [
        "-O3",
        "-std=c++17",
        "-fvisibility=hidden",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-DTORCH_TARGET_VERSION=0x020a000000000000",
    ]
    toolkit = setup_cuda.choose_toolkit(os.environ)
    nvcc, library_dirs, link_args = [], [], []
    if toolkit is not None:
        archs = setup_cuda.read_archs(os.environ)
        cpp_extension.CUDA_HOME = toolkit.root  # None where torch has no CUDA
        sources += sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cuda/*.cu"))
        cxx += ["-DSOFTRASTER_CUDA=1", f'-DSOFTRASTER_CUDA_ARCHS="{";".join(archs)}"']
        nvcc = setup_cuda.nvcc_args(archs)
        library_dirs, link_args = list(toolkit.library_dirs), toolkit.link_args
    return cpp_extension.CppExtension(
        "softraster._C",
        sources,
        include_dirs=[str(ROOT / "csrc")],
        library_dirs=library_dirs,
        py_limited_api=True,
        extra_compile_args={"cxx": cxx, "nvcc": nvcc},
        extra_link_args=link_args,
    )


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildSoftraster},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
