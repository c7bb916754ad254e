"""Networks that write MNIST digits as pen strokes, trained through softraster.

Needs `pip install "softraster[handwriting]"`. Start with `python -m handwriting --help`.
"""
