"""What a run says of its own evidence: on the screen, in ladder.json and at the top of the report."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .run_fixtures import make_rows, make_spec, run_command, to_csv

Workspace = Callable[..., Path]
SMALL = "  - rules\n  - tfidf\n"
GIVEN = make_spec(SMALL).replace("data.csv,", "data.csv, test: test.csv,")


def run(folder: Path) -> tuple[dict[str, Any], str, str]:
    """ladder.json, the screen, and the report up to its first heading below the verdict."""
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    ladder = json.loads((folder / "runs/tiny/ladder.json").read_text(encoding="utf-8"))
    report = (folder / "runs/tiny/report.html").read_text(encoding="utf-8")
    return ladder, " ".join((done.out + done.err).split()), report.partition("<h2>")[0]


def test_a_given_test_file_that_holds_rows_of_train_has_its_figure_without_them(workspace: Workspace) -> None:
    """Twelve rows of train, once as they are and once with other white space and case, among 24 that are new."""
    folder = workspace(GIVEN)
    test, train = make_rows()[::5], [row for row in make_rows() if row not in make_rows()[::5]]
    leaked = [(f"  {text.upper()} ", label) for text, label in train[::8]]
    (folder / "test.csv").write_text(to_csv([*test, *leaked]), encoding="utf-8")
    (folder / "data.csv").write_text(to_csv(train), encoding="utf-8")
    ladder, screen, top = run(folder)
    leaks = ladder["facts"]["leaks"]
    assert (leaks["examples"], leaks["leaked"]) == (len(test) + len(leaked), len(leaked))
    name = ladder["verdict"]["recommended"]
    found = next(row for row in ladder["contenders"] if row["name"] == name)["metrics"]["accuracy"]["shipped"]
    assert leaks["without"][name]["with"] == found["value"]
    (said,) = [warning for warning in ladder["verdict"]["warnings"] if "so the scores are too high" in warning]
    assert said.startswith(f"{len(leaked)} of {len(test) + len(leaked)} test examples")
    assert said in screen
    assert "so the scores are too high" in top


def test_what_check_warns_of_is_said_by_the_run_and_at_the_top_of_its_report(workspace: Workspace) -> None:
    ladder, screen, top = run(workspace(make_spec(SMALL)))
    (said,) = [one for one in ladder["verdict"]["warnings"] if one.startswith("Data: the test set has ")]
    assert said in screen
    assert "Data: the test set has " in top


def test_labels_that_have_nothing_to_do_with_the_texts_are_not_learnt(workspace: Workspace) -> None:
    folder = workspace(make_spec(SMALL))
    labels = [label for _, label in make_rows()]
    random.Random(6).shuffle(labels)
    (folder / "data.csv").write_text(
        to_csv([(text, label) for (text, _), label in zip(make_rows(), labels, strict=True)]), encoding="utf-8"
    )
    ladder, screen, top = run(folder)
    verdict = ladder["verdict"]
    assert (verdict["case"], verdict["learnt"]["learnt"], verdict["fine_tune"]) == ("nothing-learnt", False, None)
    assert (
        "Nothing is shown to be learned: on test no contender is better, by more than chance, than majority" in screen
    )
    assert "best on validation" in top
    assert "recommended" not in top.partition("</style>")[2]
