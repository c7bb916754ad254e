"""Builds softraster._C against the torch that is installed; everything else is in pyproject.toml.

pip's isolated build hides the installed torch, and asking for one in pyproject.toml would fetch a
second one of several GB: so its folder is put back on the path here.
"""

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

from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).parent.resolve()


class BuildSoftraster(BuildExtension):
    """Keeps the objects under build/, so that ninja compiles only what changed since."""

    def finalize_options(self) -> None:
        """Fix the folder of the objects, which pip would put somewhere temporary."""
        super().finalize_options()
        self.build_temp = str(ROOT / "build" / f"objects-{sys.implementation.cache_tag}")
        self.force = (
            True  # ask ninja each time: setuptools' own test knows neither flags nor headers
        )


setup(
    ext_modules=[
        CppExtension(
            "softraster._C",
            ["csrc/ops.cpp", *(f"csrc/cpu/{n}.cpp" for n in ("forward", "backward", "over"))],
            include_dirs=[str(ROOT / "csrc")],
            py_limited_api=True,
            extra_compile_args={
                "cxx": [
                    "-O3",
                    "-std=c++17",
                    "-fvisibility=hidden",
                    "-ffp-contract=fast",
                    "-fno-math-errno",
                    "-fno-trapping-math",
                    "-DTORCH_TARGET_VERSION=0x020a000000000000",
                ]
            },
        )
    ],
    cmdclass={"build_ext": BuildSoftraster},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
