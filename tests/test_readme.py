"""The README's example does what its last comment says."""

import re
from pathlib import Path

import torch


def test_the_example_finds_the_segment(capsys):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    names: dict = {}
    exec(code, names)
    promised = [float(x) for x in re.search(r"print\(segments\)  # (.*)", code)[1].split(", ")]
    torch.testing.assert_close(
        names["segments"].detach(), torch.tensor([promised]), rtol=0, atol=2e-3
    )
