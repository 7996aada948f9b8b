"""What cannot be run is refused by `check` and `run` alike, before anything is fitted; what fails later fails alone."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from loratory.errors import BaseModelError, LoratoryError, MissingExtra, StorageError, UnsupportedTask
from loratory.experiment import prepare
from tiny_models import make_bpe_tokenizer, make_word_piece_tokenizer, save_base, save_causal_model

from .conftest import Workspace
from .run_fixtures import make_spec, run_command

pytestmark = pytest.mark.usefixtures("without_charts")
T5: dict[str, Any] = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases that cannot do everything."""
    folder = tmp_path_factory.mktemp("zoo")
    save_base(folder / "albert", "albert", num_hidden_groups=1)
    save_causal_model(folder / "writer", max_positions=96)
    for name, config, tokenizer in (
        ("t5", transformers.T5Config(vocab_size=99, **T5), make_word_piece_tokenizer()),
        ("gpt2", transformers.GPT2Config(vocab_size=400, **GPT2), make_bpe_tokenizer(False)),
    ):
        auto: Any = transformers.AutoModel if name == "t5" else transformers.AutoModelForCausalLM
        auto.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


BAD = {  # the ladder, what is told, more of the spec
    "an encoder-decoder": ("  - t: {regime: head, base: zoo/t5}\n", ["ladder: t", "encoder-decoder", "base:"], {}),
    "shared layers": ("  - a: {regime: lora, base: zoo/albert}\n", ["ladder: a", "share", "base:"], {}),
    "a stock head that needs more": (
        "  - a: {regime: head, head: stock, base: zoo/t5}\n",
        ["ladder: a", "encoder-decoder"],
        {},
    ),
    "four bits of transposed weights": (
        "  - q: {regime: qlora, base: zoo/gpt2}\n",
        ["ladder: q", "four bits", "regime: lora"],
        {},
    ),
    "unknown targets": ("  - lora: {targets: [quary]}\n", ["lora: targets", "'quary'", "did you mean 'query'?"], {}),
    "too many layers": ("  - lora: {layers: top-3}\n", ["lora: layers", "top-3", "top-1 to top-2"], {}),
    "a layer that is not there": ("  - lora: {layers: [2]}\n", ["lora: layers", "0 to 1"], {}),
    "no base": ("  - lora: {base: no-such-base}\n", ["ladder: lora", "no base called 'no-such-base'"], {}),
    "a start that does not fit": ("  - prompted\n", ["ladder: prompted", "starts from causal"], {}),
    "fp16 on a CPU": ("  - lora\n", ["training: precision", "fp16"], {"precision": "fp16"}),
    "unknown classes": (
        "  - lora: {loss: {class_weights: {FRAUDS: 2}}}\n",
        ["class_weights", "did you mean 'FRAUD'?"],
        {},
    ),
    "validators of labels": ("  - rules: {validators: {card: FRAUD}}\n", ["rules: validators", "patterns"], {}),
    "patterns of no label": ("  - rules: {patterns: {FRAUDS: [x]}}\n", ["ladder: rules", "'FRAUD'?"], {}),
    "windows of twins": ("  - lora: {consistency: {}}\n", ["training: long", "ends"], {"long": "windows"}),
    "no room for the text": ("  - p: {regime: prompted, shots: 9, base: zoo/writer}\n", ["no room", "fewer shots"], {}),
}


@pytest.fixture
def nothing_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit would be a failure of the test."""
    monkeypatch.setattr("loratory.experiment.steps.fit.fit_contender", lambda *_: pytest.fail("something was fitted"))


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("nothing_fitted")
def test_check_and_run_refuse_alike(workspace: Workspace, zoo: Path, case: str) -> None:
    ladder, words, training = BAD[case]
    folder = workspace(make_spec("  - tfidf\n" + ladder))
    (folder / "zoo").symlink_to(zoo)
    changes = [part for key, value in training.items() for part in ("--set", f"training.{key}={value}")]
    done = {verb: run_command(folder, verb, "spec.yaml", *changes) for verb in ("check", "run", "train")}
    told = {verb: one.read_stderr()[one.read_stderr().index("loratory: ") :] for verb, one in done.items()}
    assert {one.code for one in done.values()} == {2}
    assert told["check"] == told["run"] == told["train"]
    for word in words:
        assert word in told["check"]
    assert "to mend it" in told["check"] or "allowed" in told["check"]
    assert not list(folder.glob("runs/*/contenders/*"))


@pytest.mark.usefixtures("nothing_fitted")
def test_all_contenders_that_cannot_be_are_told_at_once(
    workspace: Workspace, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "prepare_split", lambda *_: pytest.fail("the examples were read"))
    ladder = (
        "  - head: {base: zoo/t5}\n  - full: {base: zoo/t5}\n  - a: {regime: lora, base: zoo/albert}\n"
        "  - deep: {regime: lora, layers: top-9}\n  - lora\n"
    )
    folder = workspace(make_spec(ladder))
    (folder / "zoo").symlink_to(zoo)
    for verb in ("check", "run"):
        done = run_command(folder, verb, "spec.yaml")
        assert done.code == 2
        assert "4 contenders of the ladder cannot be fitted" in done.read_stderr()
        for name in ("head, full", "a", "deep: lora: layers"):
            assert f"  ladder: {name}: " in done.read_stderr()
        assert done.read_stderr().count("    to mend it: ") == 3
        assert "ladder: lora:" not in done.read_stderr()


@pytest.mark.usefixtures("nothing_fitted")
@pytest.mark.parametrize(
    ("library", "ladder", "extra"),
    [("bitsandbytes", "  - qlora\n", "qlora"), ("sklearn", "  - tfidf\n", "train")],
)
def test_an_extra_that_is_missing_is_told_before_the_first_fit(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, library: str, ladder: str, extra: str
) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    folder = workspace(make_spec(ladder).replace("near_duplicates: 1", "near_duplicates: 1, suspects: false"))
    for verb in ("check", "run"):
        done = run_command(folder, verb, "spec.yaml")
        assert (done.code, f"loratory[{extra}]" in done.read_stderr()) == (2, True)


# ---- the budget of tokens
def generating(folder: Path, zoo: Path, long: dict[int, int], ladder: str, schema: str = "") -> Path:
    """A workspace whose examples are conversations; `long` says how many words the prompts of some lines have."""
    chance = random.Random(1)
    folder.mkdir()
    (folder / "zoo").symlink_to(zoo)
    rows = []
    for line in range(1, 61):
        words = [chance.choice(("card", "cash", "login", "code")) for _ in range(long.get(line, 3))]
        answer: Any = {"of": words[0]} if schema else words[0]
        rows.append(json.dumps({"prompt": f"{line} {' '.join(words)}", "completion": answer}))
    (folder / "data.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "spec.yaml").write_text(
        f"name: g\ntask: {{kind: generate{schema}}}\ndata: {{path: data.jsonl, near_duplicates: 1, suspects: false}}\n"
        f"base: zoo/writer\nladder: [{ladder}]\ntraining: {{epochs: 1, threads: 1, max_tokens: 64}}\n"
    )
    return folder


def count_needed_tokens(folder: Path, line: int) -> int:
    """Tokens of a line's prompt and answer, counted by the chat template itself."""
    row = json.loads((folder / "data.jsonl").read_text().splitlines()[line - 1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "zoo" / "writer")
    talk = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    whole = str(tokenizer.apply_chat_template(talk, tokenize=False))
    return len(tokenizer(whole.removesuffix("\n"))["input_ids"])


@pytest.mark.usefixtures("nothing_fitted")
def test_the_longest_example_is_named_with_the_tokens_that_it_needs(tmp_path: Path, zoo: Path) -> None:
    long = {line: 16 + line % 7 for line in range(1, 61)} | {33: 30}
    folder = generating(tmp_path / "w", zoo, long, "lora")
    done = {verb: run_command(folder, verb, "spec.yaml") for verb in ("check", "run")}
    told = {verb: one.read_stderr()[one.read_stderr().index("loratory: ") :] for verb, one in done.items()}
    assert {one.code for one in done.values()} == {2}
    assert told["check"] == told["run"]
    told_of = re.search(r"data\.jsonl:(\d+): ladder: lora: prompt and answer take (\d+) tokens", told["check"])
    assert told_of, told["check"]
    line, tokens = map(int, told_of.groups())
    sizes = {n: count_needed_tokens(folder, n) for n in long}
    assert sizes[line] == max(sizes.values())
    assert abs(tokens - sizes[line]) <= 1  # the template's text and its pieces may be cut apart in another place
    assert f"max_tokens: {tokens}" in told["check"] or "choose a base" in told["check"]


@pytest.mark.usefixtures("nothing_fitted")
def test_a_schema_in_the_prompt_counts(tmp_path: Path, zoo: Path) -> None:
    names = ", ".join(f'"field_{n}": {{"type": "string"}}' for n in range(12))
    schema = f', answer_schema: {{"type": "object", "properties": {{"of": {{"type": "string"}}, {names}}}}}'
    folder = generating(tmp_path / "w", zoo, {}, "lora, prompted", schema)
    done = [run_command(folder, verb, "spec.yaml") for verb in ("check", "run")]
    assert [one.code for one in done] == [2, 2]
    assert "no room for a text" in done[0].read_stderr()
    assert "ladder: lora, prompted" in done[0].read_stderr()


@pytest.mark.usefixtures("nothing_fitted")
def test_an_answer_is_not_counted_where_it_fits(tmp_path: Path, zoo: Path) -> None:
    folder = generating(tmp_path / "w", zoo, {}, "lora")
    assert run_command(folder, "check", "spec.yaml").code == 0


def test_lora_on_transposed_weights_is_fitted(workspace: Workspace, zoo: Path) -> None:
    folder = workspace(make_spec("  - g: {regime: lora, head: pooled, base: zoo/gpt2}\n"))
    (folder / "zoo").symlink_to(zoo)
    assert run_command(folder, "check", "spec.yaml").code == 0
    assert run_command(folder, "run", "spec.yaml").code == 0


# ---- afterwards
PROBLEMS: tuple[Callable[[], LoratoryError], ...] = (
    lambda: UnsupportedTask("it cannot be", remedy="choose another"),
    lambda: BaseModelError("the base is broken", remedy="choose another"),
    lambda: MissingExtra("a library is not installed", remedy="pip install it"),
)


def raising(make: Callable[[], LoratoryError]) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise make()

    return fail


@pytest.mark.parametrize("make", PROBLEMS)
def test_a_contender_that_cannot_be_after_all_fails_alone_and_is_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, make: Callable[[], LoratoryError]
) -> None:
    from loratory.evaluation.report.html_report import render_report

    monkeypatch.setattr("loratory.experiment.results.render_report", render_report)
    folder = workspace(make_spec("  - lora\n  - tfidf\n"))
    with monkeypatch.context() as patched:
        patched.setattr("loratory.regimes.lora.Lora.fit", raising(make))
        done = run_command(folder, "run", "spec.yaml", "--json")
    assert done.code == 0
    ladder = json.loads(done.out)
    rows = {row["name"]: row for row in ladder["contenders"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "majority": "fitted",
        "lora": "failed",
        "tfidf": "fitted",
    }
    assert rows["lora"]["failure"] == str(make())
    assert (ladder["verdict"]["failed"], ladder["verdict"]["recommended"]) == (["lora"], "tfidf")
    assert f"failed: {make()}".splitlines()[0] in done.read_stderr()
    page = (folder / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert make().problem in page
    done = run_command(folder, "run", "spec.yaml", "--json")  # what was missing may be there now
    assert done.code == 0
    assert [row["status"] for row in json.loads(done.out)["contenders"]] == ["fitted"] * 3
    assert json.loads(done.out)["verdict"]["failed"] == []


def test_one_that_cannot_be_measured_fails_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from loratory.experiment.steps import measure

    measure_contender = measure.measure_contender

    def broken(bench: Any, fitted: Any) -> None:
        if fitted.contender.name == "lora":
            raise UnsupportedTask("it cannot answer")
        measure_contender(bench, fitted)

    folder = workspace(make_spec("  - lora\n  - tfidf\n"))
    with monkeypatch.context() as patched:
        patched.setattr(measure, "measure_contender", broken)
        done = run_command(folder, "run", "spec.yaml", "--json")
    assert done.code == 0
    rows = {row["name"]: row for row in json.loads(done.out)["contenders"]}
    assert (rows["lora"]["failure"], rows["tfidf"]["status"]) == ("it cannot answer", "fitted")
    assert run_command(folder, "run", "spec.yaml").code == 0


def test_where_nothing_is_left_that_learns_it_is_an_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loratory.regimes.lora.Lora.fit", raising(PROBLEMS[0]))
    monkeypatch.setattr("loratory.regimes.head.Head.fit", raising(PROBLEMS[1]))
    folder = workspace(make_spec("  - lora\n  - head\n"))
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "it cannot be" in done.read_stderr()
    assert "the base is broken" in done.read_stderr()
    assert not (folder / "runs" / "tiny" / "ladder.json").exists()
    assert not (folder / "test-reads.jsonl").exists()


def test_a_disk_that_is_full_ends_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.regimes.lora.Lora.fit", raising(lambda: StorageError("the disk is full")))
    done = run_command(workspace(make_spec("  - lora\n  - tfidf\n")), "run", "spec.yaml")
    assert done.code == 2
    assert "the disk is full" in done.read_stderr()


def test_a_ladder_without_a_base_is_checked_without_torch(workspace: Workspace) -> None:
    import subprocess
    import sys

    folder = workspace(make_spec("  - tfidf\n  - rules\n"))
    code = (
        "import sys; sys.argv = ['loratory', 'check', 'spec.yaml']\nfrom loratory.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
