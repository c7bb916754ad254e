"""Metrics on drawings made by hand, whose figures follow from how they are made."""

import os
from itertools import pairwise

import numpy as np
import pytest

from handwriting import metrics
from handwriting.metrics import ink, lifts, manner, render, sample, skeleton_length

cv2 = pytest.importorskip("cv2")


def drawing(*points, lifted=()):
    """A drawing through the middles of pixels (x, y), (1, P, 3)."""
    array = np.zeros((1, len(points), 3))
    array[0, :, :2] = (np.array(points) + 0.5) / 28
    array[0, list(lifted), 2] = 1
    return array


def image(*pixels):
    """An image with ink at (x, y), (1, 28, 28)."""
    array = np.zeros((1, 28, 28), np.uint8)
    for x, y in pixels:
        array[0, y, x] = 1
    return array


def measured(one, skeleton):
    return {name: value[0] for name, value in {**ink(one, skeleton), **manner(one)}.items()}


BAR = image(*((x, 10) for x in range(4, 24)))


def test_a_drawing_of_the_skeleton_itself_is_faultless():
    got = measured(drawing((4, 10), (23, 10)), BAR)
    for name in ("precision", "recall", "f1", "iou"):
        assert got[name] == 1
    for name in ("mse", "chamfer", "hd95", "failed", "abuse", "retrace", "lifts", "lift_jump"):
        assert got[name] == 0
    assert got["redundancy"] == pytest.approx(1 / 0.948)


@pytest.mark.parametrize(("shift", "near"), [(1, True), (2, False), (5, False)])
def test_a_shifted_copy_is_as_far_away_as_it_was_shifted(shift, near):
    got = measured(drawing((4, 10 + shift), (23, 10 + shift)), BAR)
    assert got["precision"] == got["recall"] == got["f1"] == near
    assert got["failed"] == got["abuse"] == (not near)
    assert got["chamfer"] == got["hd95"] == pytest.approx(shift)
    assert got["iou"] == 0 and got["mse"] == pytest.approx(40 / 784)


def test_what_is_drawn_twice_is_retraced():
    once, twice = drawing((4, 10), (23, 10)), drawing((4, 10), (23, 10), (4, 10))
    got, single = measured(twice, BAR), measured(once, BAR)
    assert got["redundancy"] == pytest.approx(2 * single["redundancy"])
    # On the way back all but 3 px around the turn, less what is within 0.75 px of those.
    expected = (19 - 1.5) / 38
    assert got["retrace"] == pytest.approx(expected, abs=0.75 / 38)
    assert got["sharp"] == 1 and got["turning"] == pytest.approx(180)
    for name in ("precision", "recall", "iou"):
        assert got[name] == single[name]


def test_all_but_retrace_is_the_same_backwards():
    there = drawing((4, 10), (23, 10), (20, 4), (20, 12), (12, 12), lifted=[1])
    back = there[:, ::-1].copy()
    back[..., 2] = 0
    back[0, 2, 2] = 1
    one, other = measured(there, BAR), measured(back, BAR)
    assert one.keys() == other.keys() == metrics.METRICS.keys()
    for name in one.keys() - {"retrace"}:
        assert one[name] == pytest.approx(other[name], rel=1e-9), name


def test_a_missing_half_is_missed_and_no_stray_ink_is_found():
    got = measured(drawing((4, 10), (13, 10)), BAR)
    assert got["precision"] == 1 and got["failed"] == 1
    assert got["recall"] == 11 / 20  # ten pixels, and one more within 1.5 px
    assert got["iou"] == 10 / 20
    assert got["chamfer"] == pytest.approx(np.concatenate((np.zeros(10), np.arange(11))).sum() / 40)
    assert got["redundancy"] == pytest.approx(9 / (19 * 0.948))


def test_a_dot_is_one_pixel():
    got = measured(drawing((4, 10), (4, 10)), BAR)
    assert got["precision"] == 1 and got["recall"] == 2 / 20
    assert got["chamfer"] == pytest.approx(np.arange(20).mean() / 2)
    assert got["redundancy"] == got["abuse"] == got["retrace"] == 0


@pytest.mark.parametrize(("end", "recall", "failed"), [(20, 0.9, 0), (19, 0.85, 1)])
def test_nine_tenths_are_not_failed_and_less_is(end, recall, failed):
    got = measured(drawing((4, 10), (end, 10)), BAR)
    assert got["recall"] == recall and got["failed"] == failed


def test_stray_ink_costs_precision_and_is_abuse():
    got = measured(drawing((4, 10), (23, 10), (23, 20), (23, 20), lifted=[1, 2]), BAR)
    assert got["abuse"] == 0 and got["precision"] == 1
    got = measured(drawing((4, 10), (23, 10), (23, 20)), BAR)
    assert got["recall"] == 1
    assert got["precision"] == (20 + 1) / (20 + 10)
    assert got["abuse"] == pytest.approx((10 - 1.5) / 29, abs=1 / 256)


def test_the_share_of_abuse_counts_length_not_points():
    dense = np.linspace((4, 10), (23, 10), 18).tolist()
    got = measured(drawing(*dense, (23, 20)), BAR)
    assert got["abuse"] == pytest.approx((10 - 1.5) / 29, abs=1 / 256)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("beside", "abuse"), [(1.5, 0), (1.5 + 1 / 64, 1)])
def test_abuse_begins_beyond_a_pixel_and_a_half_on_every_side(axis, side, beside, abuse):
    # 256 px long, so that samples are in the middles of pixels; all numbers are exact.
    skeleton = np.zeros((1, 512, 512), np.uint8)
    skeleton[0, 100:356, 40] = 1
    x = 40.5 + side * beside
    one = np.array([[(x, 100, 0), (x, 356, 0)]]) / (512, 512, 1)
    if axis:
        skeleton, one = skeleton.transpose(0, 2, 1), one[..., [1, 0, 2]]
    assert ink(one, skeleton)["abuse"][0] == abuse


@pytest.mark.parametrize("start", [(4, 10), (1, 1)])  # on the bar, and off it
def test_nothing_drawn_is_the_diagonal_away(start):
    got = measured(drawing(start, (23, 10), lifted=[0, 1]), BAR)
    assert got["precision"] == got["recall"] == got["f1"] == got["iou"] == 0
    assert got["chamfer"] == got["hd95"] == pytest.approx(28 * 2**0.5)
    assert got["failed"] == 1 and got["redundancy"] == got["abuse"] == 0
    assert np.isnan(got["turn_cos"])


def test_percentiles_are_those_of_all_distances_both_ways():
    random = np.random.default_rng(0)
    drawings = random.random((5, 6, 3)).round(3)
    drawings[..., 2] = drawings[..., 2] > 0.8
    skeletons = (random.random((5, 28, 28)) < 0.03).astype(np.uint8)
    got, drawn = ink(drawings, skeletons), render(drawings)
    for number in range(5):
        a, b = np.argwhere(drawn[number]), np.argwhere(skeletons[number])
        apart = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
        there, back = apart.min(axis=1), apart.min(axis=0)
        expected = np.percentile(np.concatenate((there, back)), 95)
        assert got["hd95"][number] == pytest.approx(expected, rel=1e-6)
        assert got["chamfer"][number] == pytest.approx((there.mean() + back.mean()) / 2, rel=1e-6)
        assert got["precision"][number] == (there <= 1.5).mean()
        assert got["recall"][number] == (back <= 1.5).mean()
        means = 1 / (there <= 1.5).mean(), 1 / (back <= 1.5).mean()
        assert got["f1"][number] == pytest.approx(2 / sum(means))
    assert got["f1"].min() < 0.5


def test_drawings_are_measured_together_as_one_by_one():
    random = np.random.default_rng(3)
    drawings = random.random((6, 7, 3))
    drawings[..., 2] = drawings[..., 2] > 0.7
    drawings[2, :, 2] = 1  # nothing is drawn
    drawings[3] = drawings[3, 0] * (1, 1, 0)  # a dot
    drawings[4, :, 2] = np.arange(7) != 5  # one segment, without turns
    skeletons = (random.random((6, 28, 28)) < 0.03).astype(np.uint8)
    with np.errstate(divide="raise", invalid="raise"):
        together = {**ink(drawings, skeletons), **manner(drawings)}
    for number in range(6):
        one = measured(drawings[[number]], skeletons[[number]])
        for name, value in one.items():
            np.testing.assert_equal(together[name][number], value, err_msg=f"{number} {name}")


def test_a_square_turns_three_times_by_90_degrees():
    got = manner(drawing((4, 4), (20, 4), (20, 20), (4, 20), (4, 4)))
    assert got["turning"][0] == pytest.approx(270)
    assert got["turn_cos"][0] == pytest.approx(0, abs=1e-12) and got["sharp"][0] == 0


def test_the_cosine_of_several_turns_is_their_mean():
    got = manner(drawing((4, 4), (8, 4), (12, 8), (8, 12)))
    assert got["turning"][0] == pytest.approx(45 + 90)
    assert got["turn_cos"][0] == pytest.approx(0.5**0.5 / 2)


def test_turning_back_is_180_degrees_where_its_cosine_is_rounded_too():
    ends = np.random.default_rng(4).random((300, 2))
    lines = np.zeros((300, 4, 3))
    lines[:, 1, :2], lines[:, 2, :2] = ends / 2, ends  # on in the same direction, and back
    with np.errstate(invalid="raise"):
        np.testing.assert_allclose(manner(lines)["turning"], 180, atol=1e-4)


def test_segments_without_length_and_jumps_turn_nowhere():
    plain = manner(drawing((4, 4), (20, 4), (20, 20)))
    doubled = manner(drawing((4, 4), (20, 4), (20, 4), (20, 4), (20, 20)))
    assert plain["turning"] == doubled["turning"] == pytest.approx(90)
    jumping = manner(drawing((4, 4), (20, 4), (4, 6), (4, 20), lifted=[1]))
    assert jumping["turning"] == 0 and np.isnan(jumping["turn_cos"][0])
    for start in ({}, {"lifted": [0]}):
        first = manner(drawing((4, 4), (4, 4 + 9 * bool(start)), (20, 4), **start))
        assert first["turning"] == 0 and np.isnan(first["turn_cos"][0])
    # Two jumps that return to where the pen was are still a lift.
    away = manner(drawing((4, 4), (20, 4), (9, 9), (20, 4), (20, 20), lifted=[1, 2]))
    assert away["turning"] == 0 and away["lifts"] == 1


def test_only_jumps_between_ink_are_lifts():
    one = drawing((0, 0), (5, 0), (9, 0), (9, 4), (12, 4), (12, 9), (12, 20), lifted=[0, 2, 3, 5])
    count, way = lifts(one)
    assert count.tolist() == [1]
    np.testing.assert_allclose(way * 28, 4 + 3)
    assert manner(one)["lift_jump"] == pytest.approx(7)
    count, way = lifts(drawing((0, 0), (5, 0), (9, 0), (9, 4), (12, 4), (20, 4), lifted=[1, 3, 4]))
    assert count.tolist() == [1] and way * 28 == pytest.approx(4)


def test_crossing_lines_retrace_little_and_parallel_ones_nothing():
    crossing = drawing((4, 4), (24, 24), (24, 4), (4, 24), lifted=[1])
    assert 0 < manner(crossing)["retrace"][0] < 2 / 50
    beside = drawing((4, 4), (24, 4), (24, 5), (4, 5))
    assert manner(beside)["retrace"][0] < 1 / 41


@pytest.mark.parametrize(("beside", "again"), [(0.7, 1), (0.8, 0)])
def test_a_line_is_retraced_up_to_three_quarters_of_a_pixel_beside_it(beside, again):
    one = drawing((4, 10), (23, 10), (23, 10 + beside), (4, 10 + beside))
    # On the way back, all but the last px or so around the turn, of two ways of 19 px.
    expected = again * (19 - 1.5) / (38 + beside)
    assert manner(one)["retrace"][0] == pytest.approx(expected, abs=1 / 38)


@pytest.mark.parametrize(("shift", "again"), [(0, 116), (1, 115)])
def test_what_is_three_pixels_ago_is_retraced_at_three_quarters_of_a_pixel(shift, again):
    # Ways of 16 px, 0.75 px apart, there and back: 2 x 128 samples 1/8 px apart, of which the j-th
    # lies beside the (255 - shift - j)-th. That must be 25 before it: more than 3 px.
    way = [(4, 8), (20, 8), (20 - shift / 8, 8.75), (4 - shift / 8, 8.75)]
    one = np.zeros((1, 4, 3))
    one[0, :, :2] = np.array(way) / 32  # exact, and so are the distances
    one[0, 1, 2] = 1
    assert manner(one, size=32)["retrace"][0] == again / 256


def test_turning_back_is_half_a_turn_however_it_rounds():
    there = np.array([8, 8]) / 32
    for x, y in [(1, 5), (3, 3), (4, 7), (9, 10)]:  # cosines of -1 - 2e-16
        back = np.zeros((1, 3, 3))
        back[0, :, :2] = [there, there + np.array([x, y]) / 32, there]
        assert manner(back)["turning"][0] == 180


def test_what_is_drawn_later_is_what_retraces():
    lines = [(4, 10), (23, 10), (4, 10.7), (23, 10.7), (4, 9.3), (23, 9.3)]
    # The second and third lie beside the first, and too far from each other.
    assert manner(drawing(*lines, lifted=[1, 3]))["retrace"][0] == pytest.approx(2 / 3, abs=1 / 256)


def test_rendering_is_that_of_single_lines():
    random = np.random.default_rng(1)
    drawings = random.random((6, 20, 3))
    drawings[..., 2] = drawings[..., 2] > 0.7
    expected = np.zeros((6, 28, 28), np.uint8)
    for canvas, points in zip(expected, drawings, strict=True):
        for (x1, y1, lifted), (x2, y2, _) in pairwise(points):
            if not lifted:
                start, end = (int(28 * x1), int(28 * y1)), (int(28 * x2), int(28 * y2))
                cv2.line(canvas, start, end, 1, 1)
    np.testing.assert_array_equal(render(drawings), expected)


def test_the_32_drawings_match_their_own_rendering():
    pytest.importorskip("h5py")
    if not os.environ.get("SOFTRASTER_DATA"):
        pytest.skip("SOFTRASTER_DATA is not set, it should name a folder with the 32 drawings")
    from handwriting.samples import load_samples

    drawings = load_samples("author").strokes.numpy()
    got = ink(drawings, render(drawings))
    for name in ("precision", "recall", "f1", "iou"):
        assert (got[name] == 1).all()
    for name in ("mse", "chamfer", "hd95", "failed", "abuse"):
        assert (got[name] == 0).all()
    assert 0.95 < got["redundancy"].mean() < 1.05
    movement = manner(drawings)
    assert movement["lifts"].sum() == 6
    assert movement["retrace"].mean() < 0.03


def test_lengths_of_straight_lines_are_right_on_average():
    random = np.random.default_rng(2)
    ends = random.random((400, 2, 2)) * 27
    ends = ends[np.hypot(*(ends[:, 1] - ends[:, 0]).T) > 10]
    lines = np.concatenate(((np.rint(ends) + 0.5) / 28, np.zeros((len(ends), 2, 1))), axis=2)
    length = np.hypot(*(lines[:, 1] - lines[:, 0])[:, :2].T) * 28
    ratio = skeleton_length(render(lines).astype(bool)) / length
    assert abs(ratio.mean() - 1) < 0.01 and ratio.std() < 0.04


def test_a_corner_is_walked_around_once():
    corner = image((4, 4), (5, 4), (5, 5)).astype(bool)
    for quarters in range(4):
        turned = np.rot90(corner, quarters, (1, 2))
        assert skeleton_length(turned) == pytest.approx(2 * 0.948)
    assert skeleton_length(image((4, 4), (5, 5), (6, 4)).astype(bool)) == pytest.approx(2 * 1.343)
    assert skeleton_length(image((4, 4)).astype(bool)) == 1


def test_samples_are_even_along_the_inked_length():
    one = drawing((0, 0), (4, 0), (4, 10), (4, 14), lifted=[1])
    places, length = sample(one, 4)
    assert length[0] * 28 == pytest.approx(8)
    np.testing.assert_allclose(places[0] * 28 - 0.5, [[1, 0], [3, 0], [4, 11], [4, 13]], atol=1e-9)
    assert sample(one)[0].shape == (1, 256, 2)


def test_samples_of_nothing_lie_at_the_first_point():
    places, length = sample(drawing((4, 10), (23, 10), (9, 3), lifted=[0, 1, 2]), 4)
    assert length[0] == 0
    np.testing.assert_allclose(places[0] * 28 - 0.5, [[4, 10]] * 4)


def test_a_sample_where_the_pen_is_lifted_lies_where_it_is_put_down_again():
    one = np.array([[(0, 0, 0), (0.25, 0, 1), (0.5, 0.5, 0), (0.5, 1.25, 0)]])
    assert sample(one, 2)[0].tolist() == [[[0.5, 0.5], [0.5, 1.0]]]


def with_one(number):
    """Two sound drawings but for one number."""
    drawings = np.zeros((2, 3, 3))
    drawings[1, 1, 2] = number
    return drawings


@pytest.mark.parametrize(
    ("drawings", "says"),
    [
        (np.zeros((2, 5)), r"shape \(n, P, 3\)"),
        (np.zeros((2, 1, 3)), "P >= 2"),
        (np.zeros((2, 5, 4)), r"shape \(n, P, 3\)"),
        (with_one(np.nan), "finite"),
        (with_one(np.inf), "finite"),
        (with_one(0.5), "0 or 1 as third number"),
    ],
)
def test_other_forms_are_refused(drawings, says):
    for measure in (render, manner, lambda some: ink(some, BAR)):
        with pytest.raises(ValueError, match=says):
            measure(drawings)


def test_skeletons_that_do_not_fit_are_refused():
    one = drawing((4, 10), (23, 10))
    with pytest.raises(ValueError, match="1 drawings, but skeletons of shape"):
        ink(one, BAR[[0, 0]])
    with pytest.raises(ValueError, match=r"1 drawings, but skeletons of shape \(1, 28, 28, 1\)"):
        ink(one, BAR[..., None])
    with pytest.raises(ValueError, match="skeleton 1 has no ink"):
        ink(one[[0, 0]], np.concatenate((BAR, np.zeros_like(BAR))))


def test_distances_are_roots_of_whole_numbers_to_the_last_bit():
    random = np.random.default_rng(0)
    inked = random.random((20, 28, 28)) < random.uniform(0.002, 0.05, (20, 1, 1))
    rows, columns = np.mgrid[:28, :28]
    for canvas, distance in zip(inked, metrics.distance_to(inked), strict=True):
        ys, xs = np.nonzero(canvas)
        squares = (rows[..., None] - ys) ** 2 + (columns[..., None] - xs) ** 2
        np.testing.assert_array_equal(distance, np.sqrt(squares.min(axis=2), dtype=np.float32))
