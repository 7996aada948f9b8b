"""The page in a real browser, against a real server: by keyboard, on a phone, in the dark, without a script."""

from __future__ import annotations

import csv
import json
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from loratory.serving.app import create_app
from loratory.serving.http.auth.api_keys import ApiKeys
from page_fixtures import EXAMPLES, make_server

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@dataclass
class PageServer:
    """A server in a thread, on a free port."""

    server: Any
    process: uvicorn.Server
    url: str
    seen: list[str] = field(default_factory=list)  # what a browser complained of, or asked of others


def serve(folder: Path, keys: ApiKeys | None = None) -> Iterator[PageServer]:
    server = make_server(folder, keys=keys)
    whole: Any = create_app(server)
    process = uvicorn.Server(uvicorn.Config(whole, port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not process.started and time.monotonic() < until:
        time.sleep(0.02)
    port = process.servers[0].sockets[0].getsockname()[1]
    yield PageServer(server, process, f"http://127.0.0.1:{port}")
    process.should_exit = True
    thread.join(10)
    server.engine.close()


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    yield from serve(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageServer, str]]:
    keys = ApiKeys({})
    secret = keys.add("lab", frozenset({"infer"}))
    for one in serve(tmp_path_factory.mktemp("guarded"), keys):
        yield one, secret


@pytest.fixture
def open_page(browser: Any, page_server: PageServer) -> Iterator[Any]:
    """Opens the page with the settings of a context; what it complains of, or asks of others, fails the test."""
    contexts = []
    seen: list[str] = []

    def open_at(path: str = "/", expected: str = "nothing", **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda one: None if one.type == "log" or expected in one.text else seen.append(one.text))
        page.on("pageerror", lambda problem: seen.append(str(problem)))
        page.on("request", lambda one: None if one.url.startswith((page_server.url, "data:")) else seen.append(one.url))
        page.clock.install()
        page.goto(page_server.url + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert seen == []


def ask(page: Any, task: str, text: str) -> None:
    page.select_option("#try-task", task)
    page.fill("#try-text", text)
    page.click("#try button:has-text('Answer')")


def test_a_text_is_typed_and_its_bars_are_seen(open_page: Any) -> None:
    page = open_page()
    address = page.url
    ask(page, "intents", "I want a refund")
    page.wait_for_selector("#answer .says:has-text('refund')")
    assert page.url == address  # nothing was loaded anew
    widths = page.eval_on_selector_all("#answer .drawn rect.f0", "all => all.map(r => r.getBoundingClientRect().width)")
    whole = page.eval_on_selector("#answer .drawn rect.track", "one => one.getBoundingClientRect().width")
    assert widths[0] == pytest.approx(0.7 * whole, rel=0.02)
    assert widths[0] > 10 * widths[1] > 0
    assert page.locator("#answer details tbody tr").count() == 3
    assert not page.locator("#answer details tbody tr").first.is_visible()
    page.click("#answer summary:has-text('3 more')")
    assert page.locator("#answer details tbody tr").first.is_visible()


def test_spans_have_colours_and_markup_in_a_text_does_nothing(open_page: Any) -> None:
    page = open_page()
    ask(page, "spans", "call 112 <img src=x onerror=document.title='taken'> Ann")
    page.wait_for_selector("#answer mark")
    grounds = page.eval_on_selector_all("#answer mark", "all => all.map(m => getComputedStyle(m).backgroundColor)")
    assert len(set(grounds)) == 2
    assert page.locator("#answer img").count() == 0
    assert page.title() != "taken"


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for wanted in ("try-task", "try-text"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == wanted
    page.keyboard.type("a transfer")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Answer"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer .says:has-text('transfer')")
    page.focus("#try-text")
    page.keyboard.press("Control+a")
    page.keyboard.type("a fee")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer .says:has-text('fee')")


def read_shown_input(page: Any) -> Any:
    """What the page asked, as it would be asked from a terminal."""
    page.wait_for_selector("#answer:not([aria-busy]) .facts")
    return json.loads(shlex.split(page.text_content("#answer pre >> nth=-1"))[-1])["inputs"][0]


HISTORY = [{"role": "user", "content": "is it\nopen?"}, {"role": "assistant", "content": "yes: user: until four"}]


def test_a_conversation_is_typed_turn_by_turn_by_keyboard(open_page: Any) -> None:
    page = open_page()
    assert not page.locator(".turns").is_visible()  # a classifier has no use for it
    page.select_option("#try-task", "words")
    assert not page.locator("#try-turns").is_visible()
    page.focus(".turns summary")
    page.keyboard.press("Enter")
    assert not page.locator("#try-turns").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "add-turn"

    def read_focused_label() -> str:
        return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))

    page.keyboard.press("Enter")
    assert read_focused_label() == "Turn 1: what was said"
    page.keyboard.insert_text(str(HISTORY[0]["content"]))
    page.keyboard.press("Tab")
    assert read_focused_label() == "Remove turn 1"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert read_focused_label() == "Turn 2: what was said"
    page.keyboard.insert_text(str(HISTORY[1]["content"]))
    page.keyboard.press("Shift+Tab")
    assert read_focused_label() == "Turn 2: who speaks"
    assert page.evaluate("document.activeElement.value") == "assistant"
    page.focus("#try-text")
    page.keyboard.type("and now?")
    page.keyboard.press("Control+Enter")
    assert read_shown_input(page) == {"prompt": "and now?", "history": HISTORY}
    page.select_option("#try-task", "intents")
    assert not page.locator(".turns").is_visible()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer:not([aria-busy]) .says:has-text('cash')")
    assert read_shown_input(page) == {"text": "and now?"}
    page.select_option("#try-task", "words")
    page.get_by_role("button", name="Remove turn 1").click()
    assert page.get_by_label("Turn 1: what was said").input_value() == HISTORY[1]["content"]
    assert page.get_by_label("Turn 1: what was said").evaluate("one => one === document.activeElement")
    page.get_by_role("button", name="Remove turn 1").click()
    assert page.evaluate("document.activeElement.id") == "add-turn"
    ask(page, "words", "alone")
    page.wait_for_selector("#answer .written:has-text('alone')")
    assert read_shown_input(page) == {"prompt": "alone"}


def test_turns_that_are_not_in_turn_are_refused(open_page: Any) -> None:
    page = open_page(expected="status of 422")
    page.select_option("#try-task", "words")
    page.click(".turns summary")
    page.click("#add-turn")
    page.keyboard.type("one")
    ask(page, "words", "two")
    page.wait_for_selector(
        "#answer [role=alert]:has-text('message 2 is from the user where the assistant has the word')"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_turns_fit_on_a_phone(open_page: Any, scheme: str) -> None:
    page = open_page(viewport={"width": 390, "height": 800}, color_scheme=scheme, is_mobile=True)
    page.select_option("#try-task", "words")
    page.click(".turns summary")
    for text in ("x" * 300, "yes"):
        page.click("#add-turn")
        page.keyboard.type(text)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    boxes = [page.locator(f".turn >> nth=0 >> {part}").bounding_box() for part in ("select", "textarea", "button")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert boxes[1]["width"] > 200


def test_without_a_script_a_conversation_is_typed_in_lines(open_page: Any) -> None:
    page = open_page(java_script_enabled=False, expected="status of 422")
    page.click(".turns summary")
    assert not page.locator("#add-turn").is_visible()
    page.fill("#try-turns", "user: is it\nopen?\nAssistant: yes: user: until four")
    ask(page, "words", "and now?")
    assert read_shown_input(page) == {"prompt": "and now?", "history": HISTORY}
    assert page.input_value("#try-turns").startswith("user: is it\nopen?")
    assert page.locator("#try-turns").is_visible()  # what was typed is there, and seen
    page.fill("#try-turns", "is it open?")
    ask(page, "words", "and now?")
    page.wait_for_selector("#answer [role=alert]:has-text('the first line says nobody')")


def test_a_file_is_labelled_and_saved(open_page: Any, tmp_path: Path) -> None:
    source = tmp_path / "messages.csv"
    source.write_bytes("id;nachricht\n1;refund für Anna\n2;top_up\n".encode("cp1252"))
    page = open_page()
    page.select_option("#table-task", "intents")
    page.set_input_files("#table-file", source)
    page.wait_for_selector("#table-columns option", state="attached")
    assert "für" in page.input_value("#table-text")
    assert page.eval_on_selector_all("#table-columns option", "all => all.map(o => o.value)") == ["id", "nachricht"]
    page.fill("#table-column", "nachricht")
    page.click("#table button")
    page.wait_for_selector("#filled a.button")
    assert page.locator("#filled tbody tr").count() == 2
    with page.expect_download() as begun:
        page.click("#filled a.button")
    assert begun.value.suggested_filename == "intents.csv"
    begun.value.save_as(tmp_path / "saved.csv")
    with (tmp_path / "saved.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert [row[2] for row in rows] == ["label", "refund", "top_up"]
    assert rows[1][:2] == ["1", "refund für Anna"]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(open_page: Any, tmp_path: Path) -> None:
    source = tmp_path / "large.csv"
    source.write_bytes(b"text\n" + b"x" * (2 << 20))
    page = open_page()
    page.set_input_files("#table-file", source)
    page.wait_for_selector("#filled [role=alert]:has-text('allowed: 1,024 kB')")
    assert page.input_value("#table-text") == ""


def test_the_traffic_goes_on_while_somebody_looks_and_stops_when_told(open_page: Any) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if one.url.endswith("/page/traffic") else None)

    def goes_on(most: int) -> None:
        del asked[:]
        page.clock.run_for(6100)  # beside the time that passes anyway
        page.wait_for_timeout(50)
        assert min(most, 3) <= len(asked) <= most

    ask(page, "words", "hello")
    page.wait_for_selector("#answer .facts")
    goes_on(4)
    page.wait_for_selector("#now tbody th:has-text('words')")
    assert page.locator("#now svg rect").count() > 0
    page.click("#pause")
    goes_on(0)
    page.click("#pause")
    goes_on(4)
    page.focus("#now .scroll")  # whoever stands in it by keyboard is not thrown out
    goes_on(0)
    page.focus("#try-text")
    hidden = "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});"
    page.evaluate(hidden + "document.dispatchEvent(new Event('visibilitychange'))")
    goes_on(0)
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    goes_on(4)


def ground(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_it_is_dark_where_the_system_is_and_where_it_is_asked_to_be(open_page: Any) -> None:
    assert ground(open_page(color_scheme="light")) == "rgb(253, 253, 252)"
    page = open_page(color_scheme="dark")
    assert ground(page) == "rgb(21, 23, 26)"
    page.check("#theme-light", force=True)
    assert ground(page) == "rgb(253, 253, 252)"
    page.reload()
    assert ground(page) == "rgb(253, 253, 252)"  # the choice is kept
    assert page.is_checked("#theme-light")
    page.check("#theme-auto", force=True)
    assert ground(page) == "rgb(21, 23, 26)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_only_down(open_page: Any, scheme: str) -> None:
    page = open_page(viewport=PHONE, color_scheme=scheme, is_mobile=True, has_touch=True)

    def over() -> int:
        return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    assert over() == 0
    for task, text in (("intents", "refund"), ("spans", "A" * 300 + " 112 Ann"), ("words", "x" * 500), ("orders", "x")):
        ask(page, task, text)
        page.wait_for_selector("#answer:not([aria-busy]) .facts")  # it is busy from the click on
        assert over() == 0, task
    page.fill("#table-text", "id,text\n1," + "y" * 400 + "\n2,refund\n")
    page.click("#table button")
    page.wait_for_selector("#filled a.button")
    assert over() == 0


def test_without_a_script_forms_and_colours_still_work(open_page: Any) -> None:
    page = open_page(java_script_enabled=False, color_scheme="light")
    assert not page.locator("#table-file").is_visible()
    ask(page, "spans", "call 112")
    page.wait_for_selector("#answer mark:has-text('112')")
    assert page.url.endswith("/page/try#try")
    assert page.input_value("#try-text") == "call 112"
    page.fill("#table-text", "text,id\nrefund,1\n")
    page.click("#table button")
    page.wait_for_selector("#filled a.button")
    with page.expect_download() as begun:
        page.click("#filled a.button")
    assert (
        Path(begun.value.path()).read_text(encoding="utf-8").splitlines()[1] == "refund,1,refund,0.700000,answered,lora"
    )
    page.check("#theme-dark")
    assert page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(21, 23, 26)"


def test_what_only_the_gate_refuses_is_told_too(open_page: Any) -> None:
    page = open_page(expected="status of 429")
    page.route("**/page/try", lambda route: route.fulfill(status=429, json={"error": {"message": "no room"}}))
    ask(page, "intents", "refund")
    page.wait_for_selector("#answer [role=alert]:has-text('no room (HTTP 429)')")


def test_the_door_opens_with_a_key_and_shuts_again(browser: Any, guarded: tuple[PageServer, str]) -> None:
    served, secret = guarded
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = context.new_page()
    page.goto(served.url + "/")
    assert page.url == served.url + "/login"
    assert ground(page) == "rgb(21, 23, 26)"  # its style is public
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type("lk_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]:has-text('no key of this server')")
    page.fill("#key", secret)
    page.keyboard.press("Enter")
    page.wait_for_selector("#try-text")
    assert page.url == served.url + "/"
    assert page.evaluate("document.cookie") == ""
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    ask(page, "intents", "refund")
    page.wait_for_selector("#answer .says:has-text('refund')")
    page.click("text=Sign out")
    page.wait_for_url("**/login")
    page.goto(served.url + "/")
    assert page.url == served.url + "/login"
    context.close()


# -- examples
def test_a_click_on_an_example_fills_the_box(open_page: Any) -> None:
    page = open_page()
    address = page.url
    assert page.locator(".example").all_text_contents() == list(EXAMPLES)
    page.click(f".example >> text={EXAMPLES[1]}")
    assert page.input_value("#try-text") == EXAMPLES[1]
    assert page.evaluate("document.activeElement.id") == "try-text"
    assert page.url == address
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer .says:has-text('top_up')")
    page.select_option("#try-task", "spans")
    assert not page.locator(".example").first.is_visible()  # they are examples of another task


def test_without_a_script_an_example_is_an_address(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    page.click(f".example >> text={EXAMPLES[0]}")
    assert page.input_value("#try-text") == EXAMPLES[0]
    assert page.input_value("#try-task") == "intents"
    page.click("#try button:has-text('Answer')")
    page.wait_for_selector("#answer .says:has-text('refund')")
