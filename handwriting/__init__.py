"""Networks that write MNIST digits as pen strokes, trained through softraster.

Needs `pip install "softraster[handwriting]"`. Start with `python -m handwriting --help`, or with
`handwriting.load_shipped()` for a trained model.
"""

import importlib
from typing import Any

# Public names by their module, imported when asked for: the command line's --help does without
# torch.
_MODULES = {
    "HandwrittenDigits": "dataset",
    "load_shipped": "shipped",
    "trace": "tracing",
    "write": "synthesis",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
