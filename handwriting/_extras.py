"""Imports of the packages that only `pip install "softraster[handwriting]"` brings.

One place for the message that names the remedy. Modules import these packages where they use them,
so that the rest works without.
"""

import importlib
from types import ModuleType


def require(module: str) -> ModuleType:
    """Import an optional module, such as "cv2" or "mlxtend.data".

    Raises:
        ImportError: it cannot be imported; one line with the reason and the remedy.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{package} cannot be imported ({error}); "
            'install it with: pip install "softraster[handwriting]"'
        ) from error
