"""Blocks between markers: replaced, and pages with wrong markers left alone."""

import pytest

from handwriting.pages import fill_page, table


def test_what_stands_between_markers_is_replaced_again_and_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->")
    for text in ("new", "newer\n\nstill"):
        fill_page(page, {"x": text, "y": "z", "unused": ""})
        assert page.read_text() == (
            f"a\n<!-- begin x -->\n\n{text}\n\n<!-- end x -->\nb\n"
            "<!-- begin y -->\n\nz\n\n<!-- end y -->"
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no markers", "has no <!-- begin NAME -->"),
        ("<!-- begin x -->\n", "has no <!-- end x -->"),
        ("<!-- begin z -->\n<!-- end z -->\n", "begin 'z' is none of x, y"),
    ],
)
def test_a_page_with_wrong_markers_is_left_alone(tmp_path, text, says):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=says):
        fill_page(page, {"x": "", "y": ""})
    assert page.read_text() == text


def test_a_table_has_a_rule_under_its_head():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
