"""The logic of the page on which digits are drawn, run without a browser against its server.

page_stub.js stands for the browser. That the page works in a real one is for test_collect.py.
"""

import contextlib
import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from handwriting.collect import CollectConfig, CollectServer
from handwriting.samples import resample

py_mini_racer = pytest.importorskip("py_mini_racer")

STUB = Path(__file__).with_name("page_stub.js").read_text()
SEVEN = [[0.25, 0.2, 0], [0.7, 0.2, 0], [0.4, 0.8, 1], [0.3, 0.5, 0], [0.6, 0.5, 1]]


class Page:
    """The page, loaded from its server; what it asks for waits for `answer`."""

    def __init__(self, url):
        self.url = url
        with urllib.request.urlopen(url) as response:
            source = response.read().decode()
        self._engine = py_mini_racer.MiniRacer()
        self.run(STUB)
        for tag, names in re.findall(r"<(\w+) ([^>]*)>", source):
            found = re.search(r'id="(\w+)"', names)
            if found:
                self.run(f"elements[{found[1]!r}] = new Element({tag!r})")
                self.run(f"elements[{found[1]!r}].disabled = {json.dumps(' disabled' in names)}")
        self.run(re.search(r"<script>(.*)</script>", source, re.DOTALL)[1])

    def run(self, code):
        return self._engine.eval(code)

    def get(self, expression):
        return json.loads(self.run(f"JSON.stringify({expression})"))

    def asked(self):
        return self.get("requests.map(({ path }) => path)")

    def answer(self, index=0):
        """Let the server answer a request that waits."""
        wanted = self.get(f"requests[{index}]")
        body = wanted["body"] and wanted["body"].encode()
        request = urllib.request.Request(
            self.url.rstrip("/") + wanted["path"], body, wanted["headers"], method=wanted["method"]
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        self.run(f"answer({index}, {status}, {json.dumps(text)})")

    def pointer(self, name, x, y, **more):
        """An event of the pointer at a place of the pad, in 0..1."""
        event = {"clientX": 10 + 400 * x, "clientY": 20 + 200 * y, "pointerId": 1, "button": 0}
        coalesced = [
            {"clientX": 10 + 400 * x, "clientY": 20 + 200 * y} for x, y in more.pop("coalesced", [])
        ]
        event = json.dumps({**event, **more})
        get = f"getCoalescedEvents: () => {json.dumps(coalesced)}"
        self.run(f"elements.pad.fire('pointer{name}', {{ ...{event}, {get} }})")

    def draw(self, points):
        """Move the pen through points (x, y, lifted)."""
        up = True
        for x, y, lifted in points:
            self.pointer("down" if up else "move", x, y)
            if lifted:
                self.pointer("up", x, y)
            up = lifted

    def press(self, key, **more):
        event = {"key": key, "target": {"tagName": "BODY"}, **more}
        self.run(f"document.fire('keydown', {json.dumps(event)})")

    def text(self, name):
        return str(self.get(f"elements.{name}.textContent"))

    def can_save(self):
        return not self.get("elements.save.disabled")

    def inked(self, canvas):
        """Chains of points on a canvas, in 0..1."""
        lines = self.get(f"elements.{canvas}.context.lines")
        return [np.array(line) / 100 for line in lines]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "samples.json"


@contextlib.contextmanager
def loaded(path):
    """The page, with the counts that it asks for first."""
    with CollectServer(CollectConfig(path, port=0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            page = Page(server.url)
            page.answer()
            yield page
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(path):
    with loaded(path) as page:
        yield page


def saved(path):
    return json.loads(path.read_bytes())["drawings"]


def test_a_drawing_is_shown_as_models_see_it_then_saved_with_all_its_points(page, path):
    assert not page.can_save()
    page.run("elements.digits.children[7].fire('click')")
    page.draw(SEVEN)
    assert page.asked() == ["/preview", "/preview"] and not page.can_save()  # after each chain
    page.answer()
    page.answer()
    assert page.can_save() and not path.exists()
    wanted = resample(np.array(SEVEN), 20)[:, :2]
    shown = page.inked("points")
    np.testing.assert_allclose(shown, np.stack((wanted[:-1], wanted[1:]), axis=1), atol=1e-4)
    for line, chain in zip(page.inked("pad"), (SEVEN[:3], SEVEN[3:]), strict=True):
        np.testing.assert_allclose(line[1:], np.array(chain)[:, :2], atol=1e-4)
    page.run("elements.save.fire('click')")
    page.answer()
    assert saved(path) == [{"label": 7, "points": SEVEN}]
    assert page.text("status") == "saved a 7" and page.text("wanted") == "8"
    buttons = page.get("elements.digits.children.map(({ textContent }) => textContent)")
    assert buttons[6:8] == ["6 (0)", "7 (1)"]
    pressed = page.get("elements.digits.children.map((each) => each.attributes['aria-pressed'])")
    assert pressed.index("true") == 8 and pressed.count("true") == 1
    assert page.inked("pad") == page.inked("points") == [] and not page.can_save()


def test_an_answer_about_an_older_drawing_is_dropped(page):
    page.draw(SEVEN[:3])
    page.press("Escape")
    page.draw(SEVEN[3:])
    page.answer(1)
    shown = page.inked("points")
    page.answer(0)
    np.testing.assert_array_equal(page.inked("points"), shown)
    np.testing.assert_allclose(shown[0][0], SEVEN[3][:2], atol=1e-4)
    page.draw(SEVEN[:1])  # the pen is down again
    assert not page.can_save()


def test_while_a_drawing_is_saved_nothing_saves_clears_or_changes_it(page, path):
    page.draw(SEVEN)
    page.answer()
    page.answer()
    page.press("Enter")
    page.press("Enter")
    page.run("elements.save.fire('click')")
    page.press("Escape")
    page.draw(SEVEN[:3])
    assert page.asked() == ["/save"] and len(page.inked("pad")) == 2
    page.answer()
    assert saved(path) == [{"label": 0, "points": SEVEN}] and page.asked() == []


def test_a_server_that_is_gone_or_refuses_is_said_and_the_drawing_kept(page, path):
    page.draw(SEVEN)
    page.answer()
    page.answer()
    page.press("Enter")
    page.run("fail(0)")
    assert "the server does not answer" in page.text("status")
    assert page.get("elements.status.className") == "error" and page.can_save()
    path.write_text("{")
    page.press("Enter")
    page.answer()
    assert str(path) in page.text("status") and len(page.inked("pad")) == 2
    path.unlink()
    page.press("Enter")
    page.answer()
    assert saved(path) == [{"label": 0, "points": SEVEN}]
    assert page.get("elements.status.className") == ""


def test_a_dot_cannot_be_saved_and_is_said(page):
    page.draw([[0.5, 0.5, 1]])
    page.answer()
    assert "points must be at least 2" in page.text("status") and not page.can_save()
    page.press("Enter")
    assert page.asked() == []


def test_digits_are_chosen_by_keys_but_not_by_shortcuts(page):
    page.press("4")
    assert page.text("wanted") == "4"
    for more in ({"ctrlKey": True}, {"altKey": True}, {"metaKey": True}, {"repeat": True}):
        page.press("5", **more)
    page.press("F5")
    assert page.text("wanted") == "4"
    page.draw(SEVEN[:3])
    page.answer()
    page.press("Enter", target={"tagName": "BUTTON"})  # it presses that button
    assert page.asked() == []
    page.press("Enter")
    assert page.asked() == ["/save"]


def test_only_the_first_pointer_draws_and_only_with_its_main_button(page):
    page.pointer("down", 0.1, 0.1, button=2)
    assert page.inked("pad") == []
    page.pointer("down", 0.1, 0.1)
    page.pointer("down", 0.9, 0.9, pointerId=2)
    page.pointer("move", 0.8, 0.8, pointerId=2)
    page.pointer("up", 0.8, 0.8, pointerId=2)
    assert page.asked() == []
    page.pointer("move", 0.5, 0.5, coalesced=[(0.2, 0.3), (0.2, 0.3), (0.5, 0.5)])
    page.pointer("move", 1.7, -0.4)  # off the pad
    page.pointer("cancel", 1.7, -0.4)
    sent = json.loads(page.get("requests[0].body"))
    assert sent["points"] == [[0.1, 0.1, 0], [0.2, 0.3, 0], [0.5, 0.5, 0], [1, 0, 1]]


def test_the_counts_of_the_file_are_shown_at_first(path):
    path.write_text(json.dumps({"drawings": [{"label": 9, "points": SEVEN}] * 3}))
    with loaded(path) as page:
        assert page.get("elements.digits.children[9].textContent") == "9 (3)"
