"""The network that reads the digits of photographs, trained once and shipped with the package.

`python -m handwriting.photo_reader` trains it anew, on MNIST and pendigits, and writes its file.
It is the network of reader.py, which stays as it is: what judges drawings has seen MNIST alone, and
takes a crossed 7 for a 2. This one has also seen people's pen paths, and both turned and slanted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from handwriting._extras import require
from handwriting.checkpoint import save_tensors
from handwriting.cutting import Ink
from handwriting.data import Digits, load_mnist
from handwriting.frame import to_frame, turned
from handwriting.pendigits import load_pendigits, pen_images
from handwriting.reader import Reader, read, reader_of, train_reader
from handwriting.thinning import thin

FILE = Path(__file__).parent / "data_files" / "weights" / "reader.safetensors"

# What a digit is read at: (turn in radians, slant); the answers' logarithms are averaged.
VIEWS = tuple((turn, slant) for turn in (-0.15, 0.0, 0.15) for slant in (-0.15, 0.0, 0.15))

_TURN, _SLANT = 0.2, 0.3  # at most, of the images to learn from
_COPIES = 3  # of pendigits' images, fewer than MNIST's
_FINER = 4  # pixels for one of an image that is to be turned, along a side


def load_photo_reader() -> Reader:
    """The shipped reader of photographs' digits, on the CPU.

    Raises:
        FileNotFoundError: this copy of the package came without it.
        CheckpointError: it is damaged.
        ImportError: safetensors is not installed.
    """
    if not FILE.is_file():
        raise FileNotFoundError(
            f"this copy of the package has no {FILE.name}: put it into {FILE.parent}, or make it "
            "with python -m handwriting.photo_reader"
        )
    return reader_of(FILE).eval()


@torch.no_grad()
def read_inks(reader: Reader, inks: Sequence[Ink]) -> np.ndarray:
    """How sure the reader is of each class, for the ink of digits.

    Args:
        reader: from `load_photo_reader`.
        inks: from `cutting.find_digits`.

    Returns:
        (n, 10) float64, each row of sum 1: the geometric mean of what VIEWS give, normalised.
    """
    images = np.stack([to_frame(turned(ink, *view)).image for ink in inks for view in VIEWS])
    scores = reader(torch.from_numpy(thin(images))[:, None].to(torch.float32)).double()
    means = scores.log_softmax(1).unflatten(0, (len(inks), len(VIEWS))).mean(1)
    return means.softmax(1).numpy()


def make_reader(data_dir: Path | str | None = None, seed: int = 0) -> tuple[Reader, dict]:
    """Train a reader of photographs.

    It learns from MNIST's training digits as they are, and once more turned and slanted by chance,
    and from images of the 30 people's pen paths, three times so; all thinned.

    Returns:
        The reader; and the share of MNIST's test digits, and of images of pen paths by 14 other
        people, that it reads right, each in one view, by name.

    Raises:
        As `load_mnist` and `load_pendigits`.
    """
    random = np.random.default_rng(seed)
    mnist, pen = load_mnist("train", data_dir), load_pendigits("train", data_dir)
    images = mnist.images.numpy()
    pens = np.concatenate([pen_images(pen.strokes.numpy())] * _COPIES)
    thinned = np.concatenate([thin(images), *(thin(_vary(i, random)) for i in (images, pens))])
    labels = torch.cat((mnist.labels, mnist.labels, pen.labels.repeat(_COPIES)))
    reader = train_reader(Digits(torch.from_numpy(thinned), labels, "MNIST and pendigits")).eval()
    figures = {}
    test, people = load_mnist("test", data_dir), load_pendigits("test", data_dir)
    for name, shown, wanted in (
        ("mnist", test.images.numpy(), test.labels),
        ("pendigits", pen_images(people.strokes.numpy()), people.labels),
    ):
        figures[name] = float((read(reader, thin(shown)) == wanted.numpy()).mean())
    return reader, figures


def _vary(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(n, 28, 28) uint8: turned and slanted by chance, and brought back to MNIST's frame."""
    cv2 = require("cv2")
    varied = np.empty_like(images)
    for number, image in enumerate(images):
        side = _FINER * len(image)
        cover = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC) / np.float32(255)
        ink = Ink(cover, np.zeros(2), np.ones(2), (0, 0, side, side), 3.0 * _FINER)
        view = random.uniform(-_TURN, _TURN), random.uniform(-_SLANT, _SLANT)
        varied[number] = to_frame(turned(ink, *view)).image
    return varied


def main() -> None:
    """Train the reader and write its file."""
    reader, figures = make_reader()
    metadata = {"made_by": "python -m handwriting.photo_reader"}
    metadata |= {f"read right, {name}": f"{share:.4f}" for name, share in figures.items()}
    save_tensors(FILE, reader.state_dict(), metadata)
    print(FILE, *metadata.values(), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
