"""The report and the served page in a real browser, 390 pixels wide, in both themes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from test_evaluation_fakes import FACTS, LADDER, QUICK, world

from loratory.evaluation.ladder import build_ladder
from loratory.evaluation.report.html_report import render_report
from loratory.serving.app import create_app
from loratory.specs.evidence import Floor, GateSpec
from page_fixtures import make_server, make_services

PHONE = {"width": 390, "height": 800}
OVERFLOW = "document.scrollingElement.scrollWidth - innerWidth"
SCROLLS_INSIDE = "[...document.querySelectorAll('.scroll')].some(one => one.scrollWidth > one.clientWidth)"
GROUND = {"light": "rgb(253, 253, 252)", "dark": "rgb(21, 23, 26)"}
FOLDER = Path("runs/a-folder-with-a-name-that-is-too-long-for-a-phone/and-one-more-folder-below-it")


@pytest.fixture(scope="module")
def evidence() -> tuple[dict[str, Any], str]:
    """A ladder of seven contenders with warnings, and its report."""
    task, measured = world(n=80, ladder=[replace(skill, seeds=1) for skill in LADDER])
    facts = {**FACTS, "test_reads": 3}
    ladder = build_ladder(task, measured, QUICK, GateSpec(accuracy=Floor(at_least=0.5)), facts)
    return ladder, render_report(ladder, measured, task, None, FOLDER)


def open_phone(browser: Any, scheme: str) -> Any:
    page = browser.new_context(viewport=PHONE, color_scheme=scheme, is_mobile=True).new_page()
    page.set_default_timeout(60_000)
    return page


def read_top(page: Any, selector: str) -> float:
    return float(page.locator(selector).first.bounding_box()["y"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_a_phone_and_loads_nothing(
    browser: Any, tmp_path: Path, evidence: tuple[dict[str, Any], str], scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(evidence[1], encoding="utf-8")
    page, seen = open_phone(browser, scheme), []
    page.on("request", lambda one: seen.append(one.url))
    page.on("console", lambda one: seen.append(one.text))
    page.goto(file.as_uri())
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(SCROLLS_INSIDE)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUND[scheme]
    places = [read_top(page, name) for name in (".says", "#warnings", "#meaning", "#ladder", "#next", "#glossary")]
    assert places == sorted(places)
    page.click("a.term >> nth=0")
    assert page.evaluate("location.hash").startswith("#term-")
    page.context.close()
    assert seen[0] == file.as_uri()
    assert {one.partition("#")[0] for one in seen} == {file.as_uri()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_with_warnings_a_ladder_and_commands_fits_a_phone(
    browser: Any, tmp_path: Path, evidence: tuple[dict[str, Any], str], scheme: str
) -> None:
    services = make_services()
    server = make_server(tmp_path, {**services, "intents": replace(services["intents"], evidence=evidence[0])})
    client = TestClient(create_app(server), headers={"accept": "text/html"})
    page = open_phone(browser, scheme)

    def answer(route: Any) -> None:
        made = client.get(route.request.url.removeprefix("http://testserver"))
        route.fulfill(status=made.status_code, headers=dict(made.headers), body=made.content)

    page.route("**/*", answer)
    page.goto("http://testserver/")
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == GROUND[scheme]
    places = [read_top(page, name) for name in ("#warnings", "#try-text", ".example", "#runs", "#traffic", "#next")]
    assert places == sorted(places)
    page.context.close()
    server.engine.close()
