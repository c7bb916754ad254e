"""The page on which digits are drawn: what its server takes, and that it works in a browser."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from collecting import SEVEN, ask, serving

from handwriting.collect import CollectConfig, CollectServer
from handwriting.samples import SampleError, load_samples, resample


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "samples.json"


@pytest.fixture
def server(path):
    with serving(path) as server:
        yield server


def test_drawings_are_kept_with_all_their_points_in_the_form_of_samples(server, path):
    slope = [[round(0.2 + 0.01 * i, 4), 0.3, 0] for i in range(50)]
    counts = [0] * 10
    for label, points in ((7, SEVEN), (1, slope), (7, SEVEN)):
        counts[label] += 1
        assert ask(server, "POST", "/save", {"label": label, "points": points}) == (
            200,
            {"counts": counts},
        )
    assert ask(server, "GET", "/counts") == (200, {"counts": counts})
    assert json.loads(path.read_bytes())["drawings"] == [
        {"label": 7, "points": SEVEN},
        {"label": 1, "points": slope},
        {"label": 7, "points": SEVEN},
    ]
    loaded = load_samples(path)
    assert loaded.labels.tolist() == [7, 1, 7]
    np.testing.assert_allclose(loaded.strokes[0], resample(np.array(SEVEN), 20), atol=1e-6)


def test_a_file_that_is_there_is_added_to(path):
    with serving(path) as server:
        ask(server, "POST", "/save", {"label": 3, "points": SEVEN})
    with serving(path) as server:
        assert server.counts()[3] == 1
        ask(server, "POST", "/save", {"label": 4, "points": SEVEN})
    assert load_samples(path).labels.tolist() == [3, 4]


def test_a_preview_is_what_models_will_see_and_keeps_nothing(server, path):
    status, answer = ask(server, "POST", "/preview", {"label": 7, "points": SEVEN})
    assert status == 200
    np.testing.assert_allclose(answer["points"], resample(np.array(SEVEN), 20), atol=1e-5)
    assert not path.exists()


def test_drawings_saved_at_the_same_time_are_all_kept(server, path):
    def save():
        for _ in range(5):
            assert ask(server, "POST", "/save", {"label": 2, "points": SEVEN})[0] == 200

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_samples(path).labels) == 20


def test_a_connection_on_which_nothing_is_asked_holds_nobody_up(server):
    with socket.create_connection(server.server_address):
        assert ask(server, "GET", "/counts")[0] == 200


def test_a_file_of_another_kind_is_refused_at_once_and_left_as_it_is(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"a": 1}')
    with pytest.raises(SampleError, match=r"settings\.json"):
        CollectServer(CollectConfig(path, port=0))
    assert path.read_text() == '{"a": 1}'


def test_a_file_that_is_damaged_while_the_page_is_open_is_said_and_left(server, path):
    path.write_text("{")
    status, answer = ask(server, "POST", "/save", {"label": 7, "points": SEVEN})
    assert status == 500 and str(path) in answer["error"]
    assert path.read_text() == "{"


def test_bad_options_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"out must be the name of a \.json file, got a\.npz"):
        CollectConfig(out=type(tmp_path)("a.npz"))
    for port in (-1, 80, 65536):
        with pytest.raises(ValueError, match=f"port must be 0 or from 1024 to 65535, got {port}"):
            CollectConfig(port=port)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match=f"port {taken.getsockname()[1]} cannot be used"),
    ):
        CollectServer(CollectConfig(tmp_path / "a.json", taken.getsockname()[1]))


def test_the_command_serves_until_ctrl_c(path):
    command = [sys.executable, "-u", "-m", "handwriting", "collect", "--out", str(path)]
    # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
    with subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            url = process.stdout.readline().split()[2]
            connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
            with contextlib.closing(connection):
                body = json.dumps({"label": 7, "points": SEVEN})
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/save", body, headers)
                assert connection.getresponse().status == 200
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, f"drawings in {path}: 1\n", "")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; tests that ask for it are skipped where there is none."""
    selenium = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and program):
        missing = [
            name for name, path in (("chromedriver", driver), ("chromium", program)) if not path
        ]
        pytest.skip(f"no {' and no '.join(missing)}; test_collect_page.py goes without")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--window-size=1200,900", "--disable-gpu"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses to run as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options, selenium.ChromeService(driver))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, server):
    """The page, loaded; no error may be in its console when the test ends."""
    browser.get_log("browser")
    browser.get(server.url)
    yield browser
    log = browser.get_log("browser")
    assert [entry["message"] for entry in log if entry["level"] == "SEVERE"] == []


def find(page, selector):
    return page.find_element("css selector", selector)


def until(page, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(page, 10, poll_frequency=0.02).until(lambda _: condition())


def draw(page, chains, kind="mouse"):
    """Move a pointer over the pad through chains of points in 0..1."""
    from selenium.webdriver.common.action_chains import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    box = find(page, "#pad").rect
    actions = ActionBuilder(page, mouse=PointerInput(kind, kind), duration=30)
    pointer = actions.pointer_action
    for chain in chains:
        places = [
            (round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"]))
            for x, y in chain
        ]
        pointer.move_to_location(*places[0]).pointer_down()
        for place in places[1:]:
            pointer.move_to_location(*place)
        pointer.pointer_up()
    actions.perform()


def inked(page, canvas):
    """Share of a canvas that is painted."""
    return page.execute_script(
        "const c = document.querySelector(arguments[0]);"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n * 4 / d.length;",
        canvas,
    )


SEVEN_CHAINS = [[(0.25, 0.2), (0.7, 0.2), (0.4, 0.8)], [(0.3, 0.5), (0.6, 0.5)]]


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_a_digit_drawn_in_a_browser_is_shown_and_saved(page, path, kind):
    blank, empty = inked(page, "#pad"), inked(page, "#points")
    assert empty == 0 and not find(page, "#save").is_enabled()
    find(page, "#digits button:nth-child(8)").click()
    assert find(page, "#wanted").text == "7"
    draw(page, SEVEN_CHAINS, kind)
    until(page, find(page, "#save").is_enabled)
    assert inked(page, "#pad") > blank + 0.02 and inked(page, "#points") > 0.01
    assert not path.exists()
    find(page, "#save").click()
    until(page, lambda: find(page, "#status").text == "saved a 7")
    assert find(page, "#digits button:nth-child(8)").text == "7 (1)"
    assert find(page, "#wanted").text == "8"
    assert inked(page, "#pad") == pytest.approx(blank, abs=1e-3) and inked(page, "#points") == 0
    (drawing,) = json.loads(path.read_bytes())["drawings"]
    points = np.array(drawing["points"])
    assert drawing["label"] == 7 and points[:, 2].sum() == 2
    wanted = resample(np.array(SEVEN), 20)
    np.testing.assert_allclose(resample(points, 20), wanted, atol=0.02)


def test_keys_choose_clear_and_save(page, path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key):
        ActionChains(page).send_keys(key).perform()

    press("3")
    assert find(page, "#wanted").text == "3"
    draw(page, [[(0.2, 0.2), (0.8, 0.8)]])
    until(page, find(page, "#save").is_enabled)
    press(Keys.ESCAPE)
    assert inked(page, "#points") == 0 and not find(page, "#save").is_enabled()
    press(Keys.ENTER)
    draw(page, [[(0.8, 0.2), (0.2, 0.8)]])
    until(page, find(page, "#save").is_enabled)
    press(Keys.ENTER)
    until(page, lambda: find(page, "#status").text == "saved a 3")
    (drawing,) = json.loads(path.read_bytes())["drawings"]
    assert drawing["points"][0][0] > 0.7


def test_the_page_shows_the_counts_of_the_file(browser, path):
    with serving(path) as server:
        ask(server, "POST", "/save", {"label": 9, "points": SEVEN})
        browser.get(server.url)
        until(browser, lambda: find(browser, "#digits button:nth-child(10)").text == "9 (1)")


def test_the_page_says_what_is_wrong_with_a_drawing(browser, server):
    browser.get(server.url)
    draw(browser, [[(0.5, 0.5)]])
    until(browser, lambda: "points must be at least 2" in find(browser, "#status").text)
    assert not find(browser, "#save").is_enabled()
    draw(browser, [[(0.2, 0.3), (0.5, 0.5)]])
    until(browser, find(browser, "#save").is_enabled)
    assert find(browser, "#status").text == ""
