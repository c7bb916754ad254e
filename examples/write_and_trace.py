"""Write a number by hand, trace the digits of its picture, and set it all on one sheet.

    python examples/write_and_trace.py --text "31415 926" --out runs/number

Writes number.svg and number.png, what the trace finds in that picture as traced.svg and traced.png,
and sheet.png with both pictures, and below them one more, as --below says. Needs neither data nor
training, but `pip install "softraster[examples]"`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

try:
    from PIL import Image

    from handwriting.paper import WriteConfig, write_files
    from handwriting.tracing import TraceConfig, trace_photo
except ImportError as error:
    raise SystemExit(f'{error}; the remedy: pip install "softraster[examples]"') from None

_MARGIN = 16  # px


def contact_sheet(pictures: Sequence[Path], out: Path) -> None:
    """Set pictures below one another on white, the wider ones scaled down to the first's width."""
    images = [Image.open(picture).convert("RGB") for picture in pictures]
    width = images[0].width
    for at, image in enumerate(images):
        if image.width > width:
            size = width, round(image.height * width / image.width)
            images[at] = image.resize(size, Image.Resampling.LANCZOS)
    height = sum(image.height + _MARGIN for image in images) + _MARGIN
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height), "white")
    top = _MARGIN
    for image in images:
        sheet.paste(image, (_MARGIN + (width - image.width) // 2, top))
        top += image.height + _MARGIN
    sheet.save(out)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", default="31415 926", help="digits, space and . , : + -")
    parser.add_argument("--out", type=Path, default=Path("runs/number"), metavar="DIR")
    parser.add_argument("--below", type=Path, metavar="PNG", help="a picture for the sheet")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    number, traced = options.out / "number.svg", options.out / "traced.svg"
    try:
        write_files(WriteConfig(text=options.text, out=number, png=True))
        trace_photo(TraceConfig(photo=number.with_suffix(".png"), out=traced, png=True))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    pictures = [number.with_suffix(".png"), traced.with_suffix(".png")]
    sheet = options.out / "sheet.png"
    contact_sheet([*pictures, *([options.below] if options.below else [])], sheet)
    print(sheet)


if __name__ == "__main__":
    main()
