"""Pages of documentation whose numbers are put in by a program, between markers."""

from __future__ import annotations

import re
from pathlib import Path

from handwriting.files import write_atomically


def fill_page(page: Path, blocks: dict[str, str]) -> None:
    """Put blocks of Markdown between the markers of a page.

    A block's place is between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands
    there is replaced.

    Args:
        page: a Markdown file, changed in place.
        blocks: Markdown by name; those that the page has no place for are left out.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: the page has no markers, or a begin without an end or of an unknown name.
    """
    text = page.read_text()
    names = re.findall(r"^<!-- begin (.*) -->$", text, re.MULTILINE)
    if not names:
        raise ValueError(f"{page}: it has no <!-- begin NAME --> for a table")
    for name in names:
        if name not in blocks:
            raise ValueError(f"{page}: begin {name!r} is none of {', '.join(blocks)}")
        begin, end = (f"<!-- {which} {name} -->" for which in ("begin", "end"))
        before, _, rest = text.partition(f"{begin}\n")
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page}: {begin} has no {end}")
        text = f"{before}{begin}\n\n{blocks[name]}\n\n{end}{after}"
    write_atomically(page, text.encode())


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *(len(head) - 1) * ["---"]]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
