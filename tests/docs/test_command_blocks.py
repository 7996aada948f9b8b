"""Every command block of README.md and of docs/ is run, page by page, in an empty folder.

How, and what is not as in the page:
- Blocks of `bash`, `console` and `python` are run in order; a block whose fence has a title is written to that file.
- Nothing in a block is changed but port numbers (each gets a free port). `SHORTER` lists the commands that would take
  minutes: what stands there is put behind the command, which is otherwise run as the page has it.
- What a page takes for granted (a file of examples, a finished run) stands in the page (`<!-- test: setup ... -->`)
  or in `SETUP`; such runs are small (`doc_fixtures.py`).
- A block that is not run has its reason: in the page (`<!-- test: skip REASON -->`) or in `SKIPPED`.
The output that a page shows is not compared: figures differ between machines.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from doc_blocks import HOME, Block, Page, list_pages, read_page
from doc_fixtures import FILES, Prepared
from doc_shell import PageShell

# page, beginning of the block (a regular expression): why it is not run
SKIPPED: Mapping[tuple[str, str], str] = {
    ("*", r"(uv )?pip (install|download)"): "needs a network",
    ("*", r"make \w+"): "needs a clone of the repository, and installs into it",
}
# page, and the beginning of a command: options that make it short
SHORTER: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("*", "loratory run pii"): ("--set", "ladder=[rules]"),
    ("*", "loratory run risk-triage"): ("--set", "ladder=[rules]"),
    ("README.md", "loratory run spec.yaml"): ("--set", "ladder=[rules, tfidf]"),  # of seven contenders that init writes
    ("index.md", "loratory run spec.yaml"): ("--set", "ladder=[rules, tfidf]"),
}
SETUP: Mapping[str, tuple[str, ...]] = {
    "spans.md": ("entities.jsonl",),
    "stress.md": ("runs/risk-triage", "other.csv"),
    "client.md": ("runs/risk-triage", "runs/notes"),
}
# what runs before the first block
BEFORE: Mapping[str, str] = {"client.md": "loratory serve runs/risk-triage runs/notes"}
SLOW_PAGES: Mapping[str, str] = {
    "tutorials/classify.md": "two runs over a recipe's 3,540 messages",
    "tutorials/generate.md": "trains a model that writes",
}
PAGES = ["README.md", *(str(file.relative_to(HOME)) for file in list_pages())]


def name_of(path: str) -> str:
    return path.removeprefix("docs/")


def read(path: str) -> Page:
    return read_page(HOME / path, name_of(path))


def find_reason(block: Block) -> str:
    """Why a block is not run; empty: it is."""
    if block.skipped:
        return block.skipped
    for (page, beginning), reason in SKIPPED.items():
        suits = page in ("*", block.page) or (page.endswith("/*") and block.page.startswith(page[:-1]))
        if suits and re.match(beginning, block.script.lstrip()):
            return reason
    return ""


WITH_COMMANDS = [path for path in PAGES if any(not find_reason(block) for block in read(path).commands)]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    home = tmp_path_factory.getbasetemp()
    return Prepared((home.parent if home.name.startswith("popen-") else home) / "prepared")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[PageShell]:
    with tempfile.TemporaryDirectory(prefix="docs") as tools:  # a short path: a socket lies in it
        made = PageShell("", tmp_path, Path(tools))
        yield made
        made.close()


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) if name_of(path) in SLOW_PAGES else path for path in WITH_COMMANDS],
)
def test_the_commands_of_a_page_run(
    path: str, shell: PageShell, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for folder in ("tests", "tests/plugins"):  # the pages of extensions import their checks and their example
        monkeypatch.syspath_prepend(str(HOME / folder))
    page = read(path)
    shell.page = path
    shell.shorter = {words: more for (of, words), more in SHORTER.items() if of in ("*", page.name)}
    for name in (*page.setup, *SETUP.get(page.name, ())):
        prepared.put(name, shell.folder)
    failures = []
    if page.name in BEFORE:
        failures.append(shell.run(Block(page.name, 0, "bash", BEFORE[page.name])))
    for block in page.blocks:
        if block.file:
            file = shell.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text + "\n", encoding="utf-8")
        elif block.is_command and not find_reason(block):
            failures.append(shell.run(block))
    found = [str(one) for one in failures if one is not None]
    assert not found, f"{len(found)} of the blocks of {path} fail:\n\n" + "\n\n".join(found)


def test_each_reason_and_each_shortening_is_still_of_use() -> None:
    blocks = [block for path in PAGES for block in read(path).commands]
    for page, beginning in SKIPPED:
        assert any(re.match(beginning, block.script.lstrip()) for block in blocks), f"{page}: {beginning}"
    text = "\n".join(block.script for block in blocks)
    assert [words for _, words in SHORTER if words not in text] == []
    names = {name_of(path) for path in PAGES}
    assert {*SETUP, *BEFORE, *SLOW_PAGES} <= names
    for path in PAGES:
        assert all(name in FILES or name.startswith("runs/") for name in read(path).setup), path


def test_a_block_that_fails_is_told_with_its_line_and_output(shell: PageShell) -> None:
    shell.page = "page.md"
    told = shell.run(Block("page.md", 10, "bash", "echo begun\nfalse\necho never"))
    assert told is not None
    assert (told.line, told.command) == (12, "false")
    assert "begun" in told.output
    assert "never" not in told.output
    told = shell.run(Block("page.md", 10, "bash", "loratory predict runs/nobody hello | cat"))
    assert told is not None
    assert "runs/nobody" in told.output
    told = shell.run(Block("page.md", 20, "python", "print('begun')\n\nprint(1 / 0)"))
    assert told is not None
    assert (told.line, told.command) == (23, "print(1 / 0)")
    assert "ZeroDivisionError" in told.output


def test_blocks_are_read_with_their_titles_reasons_and_prompts(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "<!-- test: setup messages.csv runs/a -->\n"
        '```yaml title="a/spec.yaml"\nname: a\n```\n'
        "    ```console\n    $ echo one\n    one\n    ```\n"
        "<!-- test: skip no network -->\n```bash\nping example.com\n```\n"
    )
    page = read_page(file, "page.md")
    assert page.setup == ("messages.csv", "runs/a")
    spec, shown, skipped = page.blocks
    assert (spec.file, spec.text) == ("a/spec.yaml", "name: a")
    assert (shown.script, shown.line, shown.is_command) == ("echo one\n", 5, True)
    assert skipped.skipped == "no network"
    assert page.commands == (shown, skipped)
