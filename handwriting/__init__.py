"""Networks that write MNIST digits as pen strokes, trained through softraster.

Needs `pip install "softraster[handwriting]"`. Start with `python -m handwriting --help`, or with
`handwriting.load_shipped()` for a trained model.
"""

from typing import Any

__all__ = ["load_shipped"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: the command line's --help does without torch.
    if name == "load_shipped":
        from handwriting.shipped import load_shipped

        return load_shipped
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
