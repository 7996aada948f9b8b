"""The page: what it shows, what it refuses, and what it never does."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import re
import shlex
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from colour_contrast import contrast
from loratory.artifacts.manifests import MANIFEST_FORMAT, write_manifest
from loratory.serving.app import create_app
from loratory.serving.engine.prometheus_metrics import MAX_RECENT_REQUESTS, FinishedRequest
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys
from loratory.serving.http.auth.login_sessions import (
    MAX_SESSIONS,
    MAX_SESSIONS_PER_KEY,
    SESSION_COOKIE,
    SESSION_SECONDS,
    LoginSessions,
)
from loratory.serving.http.server import Server
from loratory.serving.page import answer_table, rendering
from loratory.serving.page.answer_view import format_probability
from loratory.serving.page.traffic import compute_percentile, summarize_traffic
from page_fixtures import EXAMPLES, RELEASE, make_server, make_services

HTML = {"accept": "text/html,application/xhtml+xml"}
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr", "col"}
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags that balance, and what every one says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def contender(name: str, accuracy: float) -> dict[str, Any]:
    score = {"mean": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
    return {
        "name": name,
        "status": "fitted",
        "metrics": {"accuracy": score},
        "latency_ms": {"p50": 12.0},
        "train_seconds": 8.0,
        "parameters": {"trained": 950},
        "gate": None,
    }


LADDER: dict[str, Any] = {
    "headline": "accuracy",
    "test": {"examples": 1234},
    "contenders": [contender("rules", 0.55), contender("lora", 0.92)],
    "comparisons": [{"contender": "lora", "difference": 0.37, "decision": "better"}],
    "verdict": {
        "recommended": "lora",
        "headline": f"Fine-tune: lora is the best {SCRIPT}.",
        "reason": ["rules is 37 points worse."],
        "warnings": ["The test set was read twice."],
    },
}


def with_run(folder: Path, evidence: dict[str, Any]) -> dict[str, Service]:
    made = make_services()
    return {**made, "intents": replace(made["intents"], folder=folder, evidence=evidence)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "report.html").write_text("<h1>the report</h1>")
    digest = hashlib.sha256(b"<h1>the report</h1>").hexdigest()
    write_manifest(tmp_path, {"format": MANIFEST_FORMAT, "kind": "run", "files": {"report.html": digest}})
    made = make_server(tmp_path, with_run(tmp_path, LADDER), texts=5, characters=200, body_bytes=8192)
    yield made
    made.engine.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(create_app(server), follow_redirects=False, headers=HTML)


def post_try(client: TestClient, task: str, text: str, part: bool = False, **more: str) -> Any:
    headers = {"x-part": "1"} if part else {}
    return client.post("/page/try", data={"task": task, "text": text, **more}, headers=headers)


def post_table(client: TestClient, text: str, task: str = "intents", column: str = "") -> Any:
    return client.post("/page/table", data={"task": task, "table": text, "column": column})


def rows_of(page: str) -> list[list[str]]:
    found = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', page)
    assert found is not None
    text = b64decode(unescape(found[1])).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


# -- the whole
def test_the_page_has_every_part_and_is_well_formed(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    tags = Page(page.text).tags
    for part in ("Try it", "Many texts: a table", "How good is it?", "Traffic", "Use it in a program"):
        assert part in page.text
    ids = [told["id"] for _, told in tags if "id" in told]
    assert len(ids) == len(set(ids))
    fields = [told for tag, told in tags if tag in ("select", "textarea", "input")]
    labels = {told.get("for") for tag, told in tags if tag == "label"}
    assert all(told["id"] in labels or told.get("type") == "radio" for told in fields)
    assert {"#main", "#try", "#table", "#runs", "#traffic", "#next"} <= {
        str(told.get("href")) for tag, told in tags if tag == "a"
    }
    assert [told["aria-live"] for _, told in tags if "aria-live" in told] == ["polite", "polite"]
    for option in ("intents (classify, 8 labels)", "spans (tag, 2 labels)", "orders (generate)"):
        assert option in page.text


def test_a_link_may_choose_the_task(client: TestClient) -> None:
    assert '<option value="spans" selected>' in client.get("/?task=spans").text


def test_a_server_that_has_lost_its_tasks_still_has_a_page(tmp_path: Path) -> None:
    made = make_server(tmp_path, {})
    page = TestClient(create_app(made)).get("/")
    assert page.status_code == 200
    assert "This server has no task now" in page.text


@pytest.mark.parametrize("path", ["/", "/login", "/page/traffic"])
def test_nothing_is_asked_of_another_server_and_nothing_runs_inline(tmp_path: Path, path: str) -> None:
    keys = ApiKeys({})
    secret = keys.add("lab", frozenset({"infer"}))
    made = TestClient(create_app(make_server(tmp_path, keys=keys)))
    page = made.get(path, headers={"authorization": f"Bearer {secret}"})
    policy = page.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'"
    )
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "same-origin"  # no-referrer would make our own forms come from `null`
    for tag, told in Page(page.text).tags:
        assert tag != "style"
        assert "style" not in told
        assert not [name for name in told if name.startswith("on")]
        assert tag != "script" or str(told.get("src", "")).startswith("/page/")
        for name in ("href", "src", "action", "formaction"):
            assert re.fullmatch(r"(/(?!/)|#).*", str(told.get(name, "/")))


def test_files_of_the_page_ask_for_nothing_and_are_the_listed_ones(client: TestClient) -> None:
    for name, kind in rendering.ASSETS.items():
        made = client.get(f"/page/{name}")
        assert made.headers["content-type"].startswith(kind)
        text = made.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://|@import|url\(|eval\(|innerHTML", text)
    for name in ("page.html.jinja", "views.py", "..%2fgate.py", "nothing"):
        assert client.get(f"/page/{name}").status_code == 404


# -- warnings, examples, commands
def test_warnings_stand_before_the_box_and_the_ladder(client: TestClient) -> None:
    page = client.get("/").text
    said = "The test set was read twice."
    assert page.count(said) == 1
    assert page.index(said) < page.index('id="try-text"') < page.index('class="verdict"')
    assert "<h3>intents</h3>" in page[: page.index(said)]  # with many tasks it is said of which


def test_without_a_warning_there_is_no_place_for_one(tmp_path: Path) -> None:
    page = TestClient(create_app(make_server(tmp_path))).get("/").text
    assert 'id="warnings"' not in page


def test_many_warnings_are_folded_after_the_third(tmp_path: Path) -> None:
    verdict = {**LADDER["verdict"], "warnings": [f"warning {SCRIPT} {number}" for number in range(5)]}
    made = make_server(tmp_path, with_run(tmp_path, {**LADDER, "verdict": verdict}))
    page = TestClient(create_app(made)).get("/").text
    Page(page)
    warned = page[page.index('id="warnings"') : page.index("</aside>")]
    assert warned.partition("<summary>2 more</summary>")[0].count("<li>") == 3
    assert warned.count("<li>") == 5
    assert SCRIPT not in page


def test_an_example_is_an_address_that_fills_the_box_without_a_script(client: TestClient) -> None:
    links = [told for tag, told in Page(client.get("/").text).tags if tag == "a" and told.get("class") == "example"]
    assert [told["data-text"] for told in links] == list(EXAMPLES)
    for told, text in zip(links, EXAMPLES, strict=True):
        page = client.get(str(told["href"]).partition("#")[0]).text
        assert f">{escape(text)}</textarea>" in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
        assert '<option value="intents" selected>' in page


@pytest.mark.parametrize("query", ["task=intents&example=2", "task=intents&example=-1", "task=spans&example=0"])
def test_an_address_that_names_no_example_leaves_the_box_empty(client: TestClient, query: str) -> None:
    assert re.search(r'<textarea id="try-text"[^>]*></textarea>', client.get(f"/?{query}").text)
    assert client.get(f"/?task={SCRIPT}&example={SCRIPT}").status_code == 200


def test_texts_of_a_run_are_never_examples(tmp_path: Path) -> None:
    made = with_run(tmp_path, LADDER)
    server = make_server(tmp_path, {name: replace(one, task_spec=None) for name, one in made.items()})
    assert 'class="examples"' not in TestClient(create_app(server)).get("/").text


def read_commands(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'<code class="command">(.*?)</code>', page, re.DOTALL)]


def test_commands_at_the_end_do_what_the_page_does(client: TestClient) -> None:
    page = client.get("/").text
    assert page.index('id="traffic"') < page.index('id="next"')
    commands = read_commands(page)
    assert len(commands) == 2 * len(make_services())
    address, *rest = shlex.split(commands[0])[1:]
    assert address == "http://testserver/v1/tasks/intents/predict"
    assert rest[-2] == "-d"
    made = client.post(address, content=rest[-1], headers={"content-type": "application/json"})
    assert made.status_code == 200, made.text
    assert EXAMPLES[0] in rest[-1]
    called = [one for one in ast.walk(ast.parse(commands[1])) if isinstance(one, ast.Call)]
    client_call = next(one for one in called if isinstance(one.func, ast.Name) and one.func.id == "Client")
    assert ast.literal_eval(client_call.args[0]) == "http://testserver"
    assert "LORATORY_KEY" not in "".join(commands)
    for text in commands[1::2]:
        ast.parse(text)


# -- trying a task
def test_probabilities_are_bars_the_top_ones_open_and_the_rest_folded(client: TestClient) -> None:
    page = post_try(client, "intents", "a refund please", part=True).text
    assert "<!doctype" not in page
    assert '<p class="says">refund</p>' in page
    before, _, after = page.partition("<details>")
    assert (before.count('<tr><th scope="row"'), after.count('<tr><th scope="row"')) == (5, 3)
    assert '<rect class="f0" width="70.00" height="1"/>' in before
    assert "<summary>3 more</summary>" in page
    assert before.index("70.0%") < before.index("4.3%")


def test_without_a_script_the_whole_page_comes_back_with_the_answer_and_what_was_typed(client: TestClient) -> None:
    page = post_try(client, "intents", "a refund\r\nplease").text
    Page(page)
    assert '<p class="says">refund</p>' in page
    assert ">a refund\nplease</textarea>" in page
    assert '<option value="intents" selected>' in page


def test_who_served_is_told_with_the_whole_release_and_the_time(client: TestClient) -> None:
    page = post_try(client, "intents", "a refund", part=True).text
    assert "<dd>lora</dd>" in page
    assert f'<abbr title="{RELEASE}">{RELEASE[:12]}</abbr>' in page
    assert re.search(r"<dt>time</dt><dd>[\d.]+ ms</dd>", page)
    assert "fallback" not in page


def test_a_fallback_is_told_with_its_reason(client: TestClient) -> None:
    page = post_try(client, "fragile", "a refund", part=True).text
    assert "<dd>rules</dd>" in page
    assert '<dd class="bad">lora failed</dd>' in page


def test_abstained_is_shown_as_such_with_its_odds(client: TestClient) -> None:
    page = post_try(client, "intents", "unsure refund", part=True).text
    assert '<p class="says meant">No answer</p>' in page
    assert "not sure enough about this text" in page
    assert "<dd>abstained</dd>" in page
    assert "70.0%" in page
    assert '<p class="says">refund</p>' not in page


def test_spans_are_marked_in_the_text_with_their_labels(client: TestClient) -> None:
    page = post_try(client, "spans", "call 112 & ask for <Ann>", part=True).text
    text = re.sub(r'<span class="tag">.*?</span></span>', "", page[page.index('<p class="text">') :].split("</p>")[0])
    assert unescape(re.sub(r"<[^>]+>", "", text)) == "call 112 & ask for <Ann>"
    assert re.search(r'<mark class="m0">112<span class="tag">.*?NUMBER', page)
    assert re.search(r'<mark class="m1">Ann<span class="tag">.*?NAME', page)
    assert "5&ndash;8" in page
    assert "90.0%" in page


def test_a_text_without_spans_says_so(client: TestClient) -> None:
    assert "Nothing was found in this text." in post_try(client, "spans", "nothing here", part=True).text


def test_written_answers_are_shown_as_json_or_as_text(client: TestClient) -> None:
    assert (
        '<pre class="written">{\n  &#34;count&#34;: 3\n}</pre>' in post_try(client, "orders", "three", part=True).text
    )
    page = post_try(client, "words", f"say {SCRIPT}", part=True, system="<b>").text
    assert '<pre class="written">&lt;b&gt;say &lt;script&gt;alert(1)&lt;/script&gt;</pre>' in page


@pytest.mark.parametrize("task", ["intents", "spans", "words", SCRIPT])
def test_what_is_typed_is_never_markup(client: TestClient, task: str) -> None:
    page = post_try(client, task, f"{SCRIPT}</textarea><img src=x>'\"", system=SCRIPT).text
    Page(page)
    assert "<script>" not in page.replace("<script src=", "")
    assert "<img" not in page


def test_the_same_question_from_a_terminal_is_quoted_for_the_shell(client: TestClient) -> None:
    page = unescape(post_try(client, "words", "it's $HOME", part=True).text)
    assert "curl http://testserver/v1/tasks/words/predict" in page
    assert "it'\"'\"'s $HOME" in page


@pytest.mark.parametrize(
    ("task", "text", "status", "said"),
    [
        ("intents", " ", 422, "There is no text"),
        ("nothing", "hello", 404, "There is no task"),
        ("intents", "x" * 201, 413, "201 characters; allowed: 200"),
        ("down", "hello", 500, "The task could not be answered"),
    ],
)
@pytest.mark.parametrize("part", [True, False])
def test_what_is_refused_is_told_in_the_page(
    client: TestClient, task: str, text: str, status: int, said: str, part: bool
) -> None:
    made = post_try(client, task, text, part)
    assert made.status_code == status
    assert 'role="alert"' in made.text
    assert said in made.text
    assert ('id="try-text"' in made.text) != part
    assert ("<!doctype html>" in made.text) != part
    assert "secret of the inside" not in made.text


def test_a_form_that_is_none_is_refused(client: TestClient) -> None:
    made = client.post("/page/try", content=b"\xff&" * 30)
    assert made.status_code == 400
    assert "The form cannot be read" in made.text


def test_a_form_of_another_origin_is_refused(client: TestClient) -> None:
    made = client.post("/page/try", data={"task": "intents", "text": "x"}, headers={"origin": "http://evil.example"})
    assert made.status_code == 403
    assert "<h1>403: forbidden</h1>" in made.text


@pytest.mark.parametrize("path", ["/page/try", "/page/table"])
def test_reloading_a_forms_address_leads_back_to_the_page(client: TestClient, path: str) -> None:
    made = client.get(path)
    assert (made.status_code, made.headers["location"]) == (303, "/")


# -- a table
def test_a_table_comes_back_with_its_own_columns_and_ours(client: TestClient) -> None:
    made = post_table(client, 'id;text;note\n1;"a refund; now";=A1\n2;unsure;x\n')
    assert made.status_code == 200
    Page(made.text)
    assert "id;text;note" in made.text  # it is still in the form
    found = re.search(r'base64,([^"]+)"', made.text)
    assert found is not None
    text = b64decode(unescape(found[1])).decode()
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=";")) == [
        ["id", "text", "note", "label", "confidence", "status", "served_by"],
        ["1", "a refund; now", "=A1", "refund", "0.700000", "answered", "lora"],
        ["2", "unsure", "x", "", "", "abstained", "lora"],
    ]
    for shown in ("All rows.", "<b>1</b>", 'download="intents.csv"', '<td class="bad">abstained</td>'):
        assert shown in made.text


def test_our_columns_get_names_that_are_free(client: TestClient) -> None:
    head, row = rows_of(post_table(client, "text,label,loratory_label,status\na refund,x,y,z\n").text)
    assert head[4:] == ["loratory_loratory_label", "confidence", "loratory_status", "served_by"]
    assert row[:5] == ["a refund", "x", "y", "z", "refund"]


def test_a_column_may_be_named_and_one_that_is_not_there_is_told(client: TestClient) -> None:
    table = "text,other\ncash,a refund\nfee,a transfer\n"
    assert [row[2] for row in rows_of(post_table(client, table, column="other").text)[1:]] == ["refund", "transfer"]
    made = post_table(client, table, column="othr")
    assert made.status_code == 422
    assert "There is no column &#39;othr&#39;" in made.text
    assert "did you mean" in made.text or "other" in made.text


def test_answers_that_are_no_labels_are_written_as_text_or_json(client: TestClient) -> None:
    head, row = rows_of(post_table(client, "id,text\n1,call 112\n", "spans").text)
    assert head[2] == "answer"
    assert json.loads(row[2])["spans"][0]["text"] == "112"
    assert rows_of(post_table(client, "id,prompt\n1,hello\n", "words").text)[1][2] == "hello"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_what_we_add_is_never_a_formula_and_what_the_user_had_stays(client: TestClient, cell: str) -> None:
    _, row = rows_of(post_table(client, f'id,prompt\n=2,"{cell}"\n', "words").text)
    assert row[:3] == ["=2", cell, f"'{cell}"]


def test_a_plain_cell_is_left_alone() -> None:
    assert [answer_table.escape_formula(cell) for cell in ("a=1", "", "5", "\r=1", "\n@")] == [
        "a=1",
        "",
        "5",
        "'\r=1",
        "'\n@",
    ]


@pytest.mark.parametrize(
    ("table", "status", "said"),
    [
        ("", 422, "There is no table"),
        ("text\n" + "a\n" * 6, 413, "The table has 6 rows; allowed: 5 at a time"),
        ("text,id\n" + "x" * 201 + ",1\n", 413, "201 characters; allowed: 200"),
        ('text,id\n"open,1\n', 422, "a quote is opened here and never closed"),
        ("text,id\na,1,2\n", 422, "the row has 3 field(s), the header 2"),
        ("text,id\n", 422, "no rows"),
        (",".join(f"c{n}" for n in range(501)) + "\nx\n", 413, "501 columns; allowed: 500"),
    ],
)
def test_bounds_and_mistakes_of_a_table_are_told_in_the_page(
    client: TestClient, table: str, status: int, said: str
) -> None:
    made = post_table(client, table)
    assert made.status_code == status
    assert said.casefold() in unescape(made.text).casefold()
    assert "data:text/csv" not in made.text


def test_a_line_that_is_no_csv_is_named(client: TestClient) -> None:
    assert "line 3 of the table" in post_table(client, "text,id\na,1\na,1,2\n").text


def test_a_row_that_is_too_long_is_named_as_people_count(client: TestClient) -> None:
    assert ", row 2<" in post_table(client, "text,id\na,1\n" + "x" * 201 + ",2\n").text


def test_a_body_over_the_limit_is_told_to_a_browser_as_a_page_and_to_a_program_as_json(client: TestClient) -> None:
    data = {"task": "intents", "table": "x" * 9000}
    made = client.post("/page/table", data=data)
    assert made.status_code == 413
    assert "413: too large" in made.text
    told = client.post("/page/table", data=data, headers={"accept": "*/*"})
    assert told.json()["error"]["code"] == "too_large"


# -- runs
def test_each_run_shows_its_verdict_and_its_ladder(client: TestClient) -> None:
    page = client.get("/").text
    assert "Fine-tune: lora is the best &lt;script&gt;" in page
    assert "on 1,234 test examples" in page
    chosen = page[page.index('<tr class="chosen">') :].split("</tr>")[0]
    for cell in ("lora *", "92.0 [91.0, 93.0]", "+37.0 better", "12", "serves"):
        assert cell in chosen
    assert "The test set was read twice." in page
    assert page.count("This model is served without its run") == len(make_services()) - 1


def test_a_ladder_that_was_changed_by_hand_does_not_take_the_page_with_it(tmp_path: Path) -> None:
    made = make_server(tmp_path, with_run(tmp_path, {"verdict": {}}))
    page = TestClient(create_app(made)).get("/")
    assert page.status_code == 200
    assert "ladder.json cannot be shown" in page.text


def test_the_report_is_served_with_a_policy_of_its_own(client: TestClient) -> None:
    assert 'href="/runs/intents/report"' in client.get("/").text
    made = client.get("/runs/intents/report")
    assert made.text == "<h1>the report</h1>"
    policy = made.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script" not in policy


def test_there_is_no_other_file_and_no_report_where_there_is_none(client: TestClient, tmp_path: Path) -> None:
    for path in ("/runs/spans/report", "/runs/nothing/report", "/runs/intents/audit.jsonl", "/runs/..%2f/report"):
        assert client.get(path).status_code == 404
    (tmp_path / "report.html").write_text("<h1>another</h1>")
    assert client.get("/runs/intents/report").status_code == 404
    (tmp_path / "report.html").unlink()
    assert client.get("/runs/intents/report").status_code == 404
    (tmp_path / "report.html").symlink_to("/etc/hostname")
    assert client.get("/runs/intents/report").status_code == 404


# -- traffic
def test_traffic_counts_the_last_minute(server: Server, client: TestClient) -> None:
    now = time.monotonic()
    for number in range(100):
        server.metrics.recent.append(FinishedRequest(now - 5, (number + 1) / 1000, "intents", 200))
    server.metrics.recent.append(FinishedRequest(now - 2, 0.5, "spans", 429))
    server.metrics.recent.append(FinishedRequest(now - 90, 9.0, "old", 200))
    made = {line.task: line for line in summarize_traffic(server).lines}
    assert set(made) == {"intents", "spans", "all"}
    assert (made["intents"].p50, made["intents"].p95, made["intents"].p99) == (50, 95, 99)
    assert made["all"].statuses == [(200, 100), (429, 1)]
    page = client.get("/page/traffic").text
    Page(page)
    assert 'class="f0"' in page
    assert 'class="f1"' in page
    assert "100 a second" in page
    assert '<span class="bad">429&nbsp;&times;&nbsp;1</span>' in page


def test_a_quiet_server_says_so(client: TestClient) -> None:
    page = client.get("/page/traffic").text
    assert "There were no requests in the last minute." in page
    assert "No language model was used yet." in page
    assert "<rect" not in page


def test_what_was_tried_is_traffic_and_looking_is_not(client: TestClient) -> None:
    post_try(client, "intents", "a refund")
    client.get("/page/traffic")
    assert '<th scope="row">intents</th><td class="number">1</td>' in client.get("/page/traffic").text


def test_where_more_is_asked_than_is_remembered_the_rest_is_not_drawn_as_silence(server: Server) -> None:
    now = time.monotonic()
    server.metrics.recent.extend(
        FinishedRequest(now - 9.5 + 9 * n / MAX_RECENT_REQUESTS, 0.001, "intents", 200)
        for n in range(MAX_RECENT_REQUESTS + 5)
    )
    made = summarize_traffic(server)
    assert made.covered_seconds == 10
    server.started_at = now - 100
    assert summarize_traffic(server).rate == pytest.approx(MAX_RECENT_REQUESTS / 10, rel=0.01)


def test_a_percentile_is_the_nearest_rank() -> None:
    assert [compute_percentile([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.51, 0.99, 1.0)] == [1, 2, 3, 4, 4]
    assert compute_percentile([], 0.5) is None


def test_lanes_are_shown(server: Server, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeWorker:
        name, queued_tokens, batches, rows = "mini<lm", 1234, 7, 21

        def estimate_wait(self) -> float:
            return 0.25

    monkeypatch.setattr(server.engine, "list_workers", lambda: {"digest": FakeWorker()})
    page = client.get("/page/traffic").text
    for cell in ("mini&lt;lm", ">1,234<", ">250<", ">7<", ">21<"):
        assert cell in page


# -- the door
@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[TestClient, str, Server]]:
    keys = ApiKeys({})
    secret = keys.add("lab", frozenset({"infer"}))
    keys.add("root", frozenset({"admin"}))
    made = make_server(tmp_path, with_run(tmp_path, LADDER), keys)
    yield TestClient(create_app(made), follow_redirects=False), secret, made
    made.engine.close()


PUBLIC_PATHS = {"/health/live", "/health/ready", "/login", "/page/style.css", "/page/theme.js", "/page/icon.svg"}


def every_route(server: Server) -> list[tuple[str, str]]:
    found = create_app(server).http_router.endpoints.values()
    paths = {(method, endpoint.path) for endpoint in found for method in endpoint.methods}
    return sorted((method, re.sub(r"\{[^}]+\}", "intents", path)) for method, path in paths)


def test_without_a_key_every_route_but_the_public_ones_says_401(guarded: tuple[TestClient, str, Server]) -> None:
    client, _, server = guarded
    found = every_route(server)
    assert {("GET", "/"), ("POST", "/page/try"), ("GET", "/runs/intents/report"), ("POST", "/logout")} <= set(found)
    for method, path in found:
        made = client.request(method, path)
        assert (made.status_code == 401) == (path not in PUBLIC_PATHS), (method, path)
        if path not in PUBLIC_PATHS and method != "HEAD":
            assert made.json()["error"]["code"] == "unauthorized"
            assert made.headers["www-authenticate"] == "Bearer"


def test_the_public_paths_are_listed_one_by_one(guarded: tuple[TestClient, str, Server]) -> None:
    found = create_app(guarded[2]).http_router.endpoints.items()
    own = {"/login", "/page/style.css", "/page/theme.js", "/page/icon.svg"}
    assert own | {"/health/live", "/health/ready"} == PUBLIC_PATHS
    assert {path for path, endpoint in found if endpoint.scope is None} == PUBLIC_PATHS


@pytest.mark.parametrize("path", ["/", "/page/traffic", "/runs/intents/report"])
def test_a_browser_without_a_key_is_sent_to_sign_in(guarded: tuple[TestClient, str, Server], path: str) -> None:
    made = guarded[0].get(path, headers=HTML)
    assert (made.status_code, made.headers["location"], made.content) == (303, "/login", b"")
    assert guarded[0].get("/v1/tasks", headers=HTML).status_code == 401


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_do_not_have(
    guarded: tuple[TestClient, str, Server],
) -> None:
    client, secret, _ = guarded
    made = client.post("/login", data={"key": f" {secret} "})
    assert (made.status_code, made.headers["location"]) == (303, "/")
    cookie = made.headers["set-cookie"]
    assert secret not in cookie
    for part in (f"{SESSION_COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_SECONDS}"):
        assert part in cookie
    assert "Secure" not in cookie
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert "Sign out" in page.text
    assert "Authorization: Bearer $LORATORY_KEY" in unescape(post_try(client, "intents", "x", part=True).text)
    curl, python, *_ = read_commands(page.text)
    assert "Authorization: Bearer $LORATORY_KEY" in curl
    assert 'key=os.environ["LORATORY_KEY"]' in python
    assert secret not in page.text


def test_over_https_the_cookie_stays_there(guarded: tuple[TestClient, str, Server]) -> None:
    _, secret, server = guarded
    client = TestClient(create_app(server), "https://testserver", follow_redirects=False)
    assert "Secure" in client.post("/login", data={"key": secret}).headers["set-cookie"]


def test_signing_out_ends_the_session_and_not_only_the_cookie(guarded: tuple[TestClient, str, Server]) -> None:
    client, secret, _ = guarded
    client.post("/login", data={"key": secret})
    token = client.cookies[SESSION_COOKIE]
    made = client.post("/logout")
    assert (made.status_code, made.headers["location"]) == (303, "/login")
    client.cookies.clear()
    assert client.get("/", headers={"cookie": f"{SESSION_COOKIE}={token}"}).status_code == 401


@pytest.mark.parametrize("body", [{"key": "lk_wrong"}, {"key": ""}, {}, {"key": SCRIPT}])
def test_a_wrong_key_gets_nothing(guarded: tuple[TestClient, str, Server], body: dict[str, str]) -> None:
    made = guarded[0].post("/login", data=body)
    assert made.status_code == 403
    assert "This is no key of this server." in made.text
    assert "set-cookie" not in made.headers
    assert SCRIPT not in made.text


def test_a_key_that_may_not_ask_is_told_so(tmp_path: Path) -> None:
    keys = ApiKeys({})
    secret = keys.add("root", frozenset({"admin"}))
    client = TestClient(create_app(make_server(tmp_path, keys=keys)), follow_redirects=False)
    made = client.post("/login", data={"key": secret})
    assert made.status_code == 403
    assert "it has no scope infer" in made.text


def test_a_session_ends_with_its_key_and_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ApiKeys({})
    key = keys.find(keys.add("lab", frozenset({"infer"})))
    assert key is not None
    sessions = LoginSessions(keys)
    header = f"other=1; {SESSION_COOKIE}={sessions.begin(key)}"
    assert sessions.find(header) == key
    later = time.monotonic() + SESSION_SECONDS + 1
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: later)
        assert sessions.find(header) is None
    keys.drop("lab")
    assert sessions.find(header) is None


def signed_in(sessions: LoginSessions, name: str) -> ApiKey:
    key = sessions.keys.find(sessions.keys.add(name, frozenset({"infer"})))
    assert key is not None
    return key


def test_sessions_of_one_key_are_bounded_and_end_nobody_elses() -> None:
    sessions = LoginSessions(ApiKeys({}))
    key, other = signed_in(sessions, "lab"), signed_in(sessions, "other")
    kept, first = sessions.begin(other), sessions.begin(key)
    for _ in range(MAX_SESSIONS_PER_KEY):
        last = sessions.begin(key)
    for _ in range(MAX_SESSIONS):
        last = sessions.begin(key)
    assert len(sessions.by_token) == MAX_SESSIONS_PER_KEY + 1
    assert sessions.find(f"{SESSION_COOKIE}={first}") is None
    assert sessions.find(f"{SESSION_COOKIE}={last}") == key
    assert sessions.find(f"{SESSION_COOKIE}={kept}") == other


def test_sessions_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = LoginSessions(ApiKeys({}))
    made = [sessions.begin(signed_in(sessions, f"key-{number}")) for number in range(4)]
    monkeypatch.setattr("loratory.serving.http.auth.login_sessions.MAX_SESSIONS", 5)
    busy = sessions.by_token[made[1]][0]
    for _ in range(20):  # it may only take its own room, once that is all taken
        sessions.begin(busy)
    assert len(sessions.by_token) == 5
    assert all(sessions.find(f"{SESSION_COOKIE}={token}") for token in (made[0], *made[2:]))
    late = signed_in(sessions, "late")  # one that has none yet takes the room of who has most
    token = sessions.begin(late)
    assert sessions.find(f"{SESSION_COOKIE}={token}") == late
    assert all(sessions.find(f"{SESSION_COOKIE}={token}") for token in (made[0], *made[2:]))


def test_sessions_that_are_over_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = LoginSessions(ApiKeys({}))
    gone, left = signed_in(sessions, "gone"), signed_in(sessions, "left")
    for key in (gone, gone, left):
        sessions.begin(key)
    sessions.keys.drop("gone")
    sessions.begin(left)
    assert [key.name for key, _ in sessions.by_token.values()] == ["left", "left"]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + SESSION_SECONDS + 1)
    sessions.begin(left)
    assert len(sessions.by_token) == 1


def test_a_session_ends_when_its_key_may_do_something_else() -> None:
    sessions = LoginSessions(ApiKeys({}))
    key = signed_in(sessions, "lab")
    header = f"{SESSION_COOKIE}={sessions.begin(key)}"
    wider = ApiKey(key.name, frozenset({"infer", "admin"}), key.digest)
    sessions.keys.replace_with(ApiKeys({key.digest: wider}))
    assert sessions.find(header) is None


def test_where_no_key_is_needed_there_is_no_door(client: TestClient) -> None:
    made = client.get("/login")
    assert (made.status_code, made.headers["location"]) == (303, "/")
    assert "Sign out" not in client.get("/").text


# -- looks
def mix_colours(colour: str, paper: str, share: float) -> str:
    both = zip((colour[1:3], colour[3:5], colour[5:7]), (paper[1:3], paper[3:5], paper[5:7]), strict=True)
    return "#" + "".join(f"{round(share * int(a, 16) + (1 - share) * int(b, 16)):02x}" for a, b in both)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_stands_out_by_4_5_and_edges_by_3(theme: int) -> None:
    style = rendering.read_asset("style.css").decode()
    named = {name: pair[theme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)}
    assert contrast(named["ink"], named["alert"]) >= 4.5
    for text in ("ink", "muted", "bad", "link"):
        for ground in ("paper", "card"):
            assert contrast(named[text], named[ground]) >= 4.5, (text, ground)
    assert contrast(named["on-press"], named["press"]) >= 4.5
    assert contrast(named["ink"], named["mark"]) >= 4.5
    assert contrast(named["edge"], named["paper"]) >= 3
    for number in range(8):
        assert contrast(named["ink"], mix_colours(named[f"s{number}"], named["paper"], 0.22)) >= 4.5
        assert contrast(named[f"s{number}"], named["paper"]) >= 3


def test_what_is_nearly_nothing_or_everything_does_not_look_like_it() -> None:
    shown = {0.0: "0.0%", 1e-9: "<0.1%", 0.5: "50.0%", 0.99999: ">99.9%", 1.0: "100.0%"}
    assert {share: format_probability(share) for share in shown} == shown
