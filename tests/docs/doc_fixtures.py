"""What pages take for granted: files of examples, and runs that are finished. Each is made once, when a page asks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from doc_blocks import DOCS, HOME, read_page
from doc_shell import run_command, work_in
from filelock import FileLock

from tiny_models import save_causal_model

RECIPES = HOME / "src/loratory/bundled_recipes"
LETTER = "Dear Ms Lund,\nplease pay card 4111 1111 1111 1111 and write to ada@example.com.\nAda Lund\n"
NEW_ROWS = "id,message,team\n1,I was charged twice for one order,billing\n2,The parcel never came,delivery\n"
WRITER_SPEC = """\
name: {name}
task:
  kind: generate
  answer_schema:
    type: object
    properties: {{count: {{type: integer, minimum: 1, maximum: 99}}}}
    required: [count]
    additionalProperties: false
  checks: [exact]
data: {{path: orders.jsonl, near_duplicates: 1.0}}
base: {base}
ladder: [prompted: {{shots: 0, writing: {{max_new_tokens: 12}}}}]
evidence: {{unconstrained_texts: 1}}
"""
CLASSIFIER_SPEC = """\
name: {name}
task: {{kind: classify}}
data: {{path: messages.csv, text: message, label: team}}
ladder: [{ladder}]
"""
SPANS_SPEC = """\
name: {name}
task: {{kind: tag}}
data: {{path: entities.jsonl}}
ladder: [rules: {{validators: {{card: CREDIT_CARD, email: EMAIL_ADDRESS}}}}]
"""


def write_messages() -> str:
    """The examples of the quick start, from its page."""
    blocks = read_page(DOCS / "quickstart.md", "quickstart.md").blocks
    return next(block.text for block in blocks if block.file == "messages.csv") + "\n"


def write_entities() -> str:
    """The head of the recipe's data."""
    return "\n".join((RECIPES / "pii/messages.jsonl").read_text(encoding="utf-8").split("\n")[:150]) + "\n"


def write_orders() -> str:
    rows = ((f"{count} lamps, order {count * 7}", f'{{"count": {count}}}') for count in range(1, 21))
    return "".join(json.dumps({"prompt": text, "completion": answer}) + "\n" for text, answer in rows)


def write_spec() -> str:
    return CLASSIFIER_SPEC.format(name="messages", ladder="rules, tfidf")


FILES: Mapping[str, Callable[[], str]] = {
    "messages.csv": write_messages,
    "entities.jsonl": write_entities,
    "new.csv": lambda: NEW_ROWS,
    "other.csv": lambda: NEW_ROWS,
    "letter.txt": lambda: LETTER,
    "spec.yaml": write_spec,
}
WRITERS = ("orders", "notes")
SPANS = ("pii",)


class Prepared:
    """The store of finished runs, shared by all workers of a test session."""

    def __init__(self, store: Path) -> None:
        self.store = store
        store.mkdir(exist_ok=True)

    def put(self, name: str, folder: Path) -> None:
        """Put a file, or a run of the form runs/NAME, into a page's folder."""
        if name.startswith("runs/"):
            shutil.copytree(self.find_run(name.removeprefix("runs/")), folder / name, dirs_exist_ok=True)
        else:
            (folder / name).write_text(FILES[name](), encoding="utf-8")

    def find_run(self, name: str) -> Path:
        place = self.store / name
        with FileLock(self.store / f"{name}.lock"):
            if not (place / "done").exists():
                place.mkdir(exist_ok=True)
                self.make_run(name, place)
                (place / "done").touch()
        return place / "runs" / name

    def make_run(self, name: str, place: Path) -> None:
        if name in WRITERS:
            (place / "orders.jsonl").write_text(write_orders(), encoding="utf-8")
            spec = WRITER_SPEC.format(name=name, base=save_causal_model(place / "base"))
        elif name in SPANS:
            (place / "entities.jsonl").write_text(write_entities(), encoding="utf-8")
            spec = SPANS_SPEC.format(name=name)
        else:
            (place / "messages.csv").write_text(write_messages(), encoding="utf-8")
            spec = CLASSIFIER_SPEC.format(name=name, ladder="rules, tfidf")
        (place / "spec.yaml").write_text(spec, encoding="utf-8")
        with work_in(place, {}):
            code, _, err = run_command(["run", "spec.yaml"])
        assert code == 0, f"the prepared run {name}: {err}"
