"""`loratory import` of what people have: PEFT checkpoints, tags of every scheme, pickles; remedies that work."""

from __future__ import annotations

import json
import pickle
import random
import shlex
import shutil
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.bases import describe_base
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import LoratoryError
from loratory.importing.import_folder import import_folder
from loratory.predictors import predictor_files
from loratory.predictors.bio_decoding import decode_spans, viterbi
from loratory.tasks.tag_schemes import TAG_SCHEMES, detect_scheme_name, parse_labels
from tiny_models import TEXTS, save_base

LABELS = ("card", "cash", "login")
NAMED: dict[str, Any] = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
TEXT_CLASSIFIER, TOKEN_CLASSIFIER = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"


def make_label_config(names: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def answers(folder: Path) -> list[Any]:
    return predictor_files.load_predictor(folder, TorchBackbonePool()).predict(
        [{"text": text} for text in TEXTS], run_locally
    )


def predict_probabilities(folder: Path) -> list[list[float]]:
    return [list(one.probabilities["/label"].values()) for one in answers(folder)]


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def theirs(folder: Path) -> list[list[float]]:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist() for text in TEXTS]


# ---- a PEFT checkpoint
@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What PEFT's save_pretrained leaves, its tokenizer beside it and its base in the folder next to it."""
    home = tmp_path / "home"
    save_base(home / "base", "bert")
    auto = transformers.AutoModelForSequenceClassification
    torch.manual_seed(2)
    config = LoraConfig(r=4, target_modules=["query", "dense"], task_type="SEQ_CLS", modules_to_save=["classifier"])
    peft: Any = get_peft_model(auto.from_pretrained(home / "base", num_labels=3), config)
    with torch.no_grad():
        for weight in peft.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.3)
    peft.save_pretrained(str(home / "checkpoint"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(home / "base")
    tokenizer.save_pretrained(home / "checkpoint")
    peft.merge_and_unload().save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    return home / "checkpoint"


@pytest.mark.parametrize("told", ["absolute", "beside it", "inside it", "--base"])
def test_a_checkpoint_is_taken_in_on_its_base(checkpoint: Path, tmp_path: Path, told: str) -> None:
    base = checkpoint.parent / "base"
    if told == "inside it":
        shutil.copytree(base, checkpoint / "inner")
    name = {"absolute": str(base), "beside it": "base", "inside it": "inner", "--base": "nowhere"}[told]
    edit(checkpoint / "adapter_config.json", base_model_name_or_path=name)
    asked = str(base) if told == "--base" else None
    assert import_folder(checkpoint, tmp_path / "out", asked, LABELS) == "base + adapter"
    shutil.rmtree(checkpoint.parent)
    np.testing.assert_allclose(predict_probabilities(tmp_path / "out"), theirs(tmp_path / "merged"), atol=1e-4)
    assert tuple(answers(tmp_path / "out")[0].probabilities["/label"]) == LABELS


def test_a_checkpoint_on_a_base_of_ours(tmp_path: Path) -> None:
    """The hub's id of a base that is installed needs no network."""
    from loratory.backbones.loading.bases import resolve_base

    folder = resolve_base("minilm").folder
    config = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", modules_to_save=["classifier"])
    auto = transformers.AutoModelForSequenceClassification
    get_peft_model(auto.from_pretrained(folder, num_labels=3), config).save_pretrained(str(tmp_path / "c"))
    edit(tmp_path / "c" / "adapter_config.json", base_model_name_or_path="sentence-transformers/all-MiniLM-L6-v2")
    assert import_folder(tmp_path / "c", tmp_path / "out", None, LABELS) == "base + adapter"
    assert len(predict_probabilities(tmp_path / "out")) == len(TEXTS)


def catch_import_error(folder: Path, match: str, **options: Any) -> LoratoryError:
    with pytest.raises(LoratoryError, match=match) as caught:
        import_folder(folder, folder.parent / "out", **options)
    assert caught.value.remedy, caught.value
    return caught.value


def test_what_a_checkpoint_lacks_is_told_with_the_option_that_says_it(checkpoint: Path, tmp_path: Path) -> None:
    edit(checkpoint / "adapter_config.json", base_model_name_or_path="gone")
    assert "--base" in catch_import_error(checkpoint, "'gone', which adapter_config.json names").remedy
    edit(checkpoint / "adapter_config.json", base_model_name_or_path=None)
    assert "--base" in catch_import_error(checkpoint, "does not name the adapter's base").remedy
    base = str(checkpoint.parent / "base")
    assert (
        "--labels first,second"
        in catch_import_error(checkpoint, "no labels.json and no id2label for the 3 outputs", base=base).remedy
    )
    assert "--labels" in catch_import_error(checkpoint, "does not open", base=base, labels=("a", "b")).remedy
    edit(checkpoint.parent / "base" / "config.json", **make_label_config(("of", "another", "task", "altogether")))
    catch_import_error(
        checkpoint, "for the 3 outputs of its head", base=base
    )  # labels of a base are not those of the adapter
    edit(checkpoint / "adapter_config.json", task_type="CAUSAL_LM")
    catch_import_error(checkpoint, "CAUSAL_LM: it is no classifier", base=base, labels=LABELS)


def test_base_is_for_adapters(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "plain", "bert", kind=TEXT_CLASSIFIER, **NAMED)
    assert "leave --base out" in catch_import_error(folder, "there is none", base="minilm").remedy


def test_labels_can_be_said_anew(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "plain", "bert", kind=TEXT_CLASSIFIER, **make_label_config(("LABEL_0", "LABEL_1")))
    import_folder(folder, tmp_path / "out", labels=("no", "yes"))
    assert list(answers(tmp_path / "out")[0].probabilities["/label"]) == ["no", "yes"]


# ---- weights that are never unpickled
def run_command(line: str) -> None:
    """A remedy, as a person would run it."""
    words = shlex.split(line)
    assert words[:2] == ["python", "-c"]
    exec(compile(words[2], "remedy", "exec"), {})


def pickle_weights(folder: Path, form: str) -> None:
    """The folder's safetensors as another file."""
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    if form == "shards":
        half = sorted(tensors)[: len(tensors) // 2]
        parts = {
            "pytorch_model-00001-of-00002.bin": half,
            "pytorch_model-00002-of-00002.bin": sorted(set(tensors) - set(half)),
        }
        for name, keys in parts.items():
            torch.save({key: tensors[key] for key in keys}, folder / name)
        index = {"metadata": {}, "weight_map": {key: name for name, keys in parts.items() for key in keys}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(tensors, folder / form)


@pytest.mark.parametrize("form", ["pytorch_model.bin", "shards", "model.pt", "it's.pth"])
def test_the_command_that_converts_works(tmp_path: Path, form: str) -> None:
    folder = save_base(tmp_path / "a model's folder", "bert", kind=TEXT_CLASSIFIER, **NAMED)
    expected = theirs(folder)
    pickle_weights(folder, form)
    problem = catch_import_error(folder, "no model found, but ")
    run_command(problem.remedy)
    import_folder(folder, tmp_path / "out")
    np.testing.assert_allclose(predict_probabilities(tmp_path / "out"), expected, atol=1e-5)


def test_the_command_for_a_base_works(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "base", "bert")
    before = load_file(folder / "model.safetensors")
    pickle_weights(folder, "pytorch_model.bin")
    with pytest.raises(LoratoryError, match=r"no safetensors weights, but pytorch_model\.bin") as caught:
        describe_base("base", folder)
    run_command(caught.value.remedy)
    after = load_file(folder / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_command_for_an_adapter_works(checkpoint: Path, tmp_path: Path) -> None:
    weights = checkpoint / "adapter_model.safetensors"
    torch.save(load_file(weights), checkpoint / "adapter_model.bin")
    weights.unlink()
    base = str(checkpoint.parent / "base")
    run_command(catch_import_error(checkpoint, "but adapter_model.bin", base=base, labels=LABELS).remedy)
    import_folder(checkpoint, tmp_path / "out", base, LABELS)
    np.testing.assert_allclose(predict_probabilities(tmp_path / "out"), theirs(tmp_path / "merged"), atol=1e-4)


@pytest.mark.parametrize(
    ("file", "word"), [("m.gguf", "GGUF"), ("model.onnx", "ONNX"), ("tf_model.h5", "save_pretrained")]
)
def test_files_that_cannot_be_converted_here_say_what_to_take(tmp_path: Path, file: str, word: str) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / file).write_bytes(b"x")
    assert word in catch_import_error(tmp_path / "f", f"but {file}").remedy


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """The command refuses a pickle that would run code."""
    folder = save_base(tmp_path / "m", "bert", kind=TEXT_CLASSIFIER, **NAMED)
    pickle_weights(folder, "model.pt")

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"x": Evil()}, folder / "model.pt")
    with pytest.raises(pickle.UnpicklingError):
        run_command(catch_import_error(folder, "no model found").remedy)
    assert not (tmp_path / "ran").exists()


# ---- architectures
@pytest.mark.parametrize("groups", [1, 2])
def test_albert_is_taken_in(tmp_path: Path, groups: int) -> None:
    folder = save_base(tmp_path / "albert", "albert", kind=TEXT_CLASSIFIER, num_hidden_groups=groups, **NAMED)
    import_folder(folder, tmp_path / "out")
    np.testing.assert_allclose(predict_probabilities(tmp_path / "out"), theirs(folder), atol=1e-4)


def save_classifier(folder: Path, name: str, **values: Any) -> Path:
    """A classifier of another architecture, with the tokenizer of a BERT."""
    save_base(folder, "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **ids, **values, **NAMED)
    torch.manual_seed(4)
    auto: Any = transformers.AutoModelForSequenceClassification
    auto.from_config(config).save_pretrained(folder)
    return folder


def test_bart_is_taken_in(tmp_path: Path) -> None:
    """Its classifier reads the state of the end token, which every text has once."""
    half = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    folder = save_classifier(tmp_path / "bart", "Bart", d_model=32, encoder_layers=2, decoder_layers=2, **half)
    import_folder(folder, tmp_path / "out")
    np.testing.assert_allclose(predict_probabilities(tmp_path / "out"), theirs(folder), atol=1e-4)


def test_an_architecture_that_cannot_be_taken_in_names_what_can_be_done(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "xlnet", "XLNet", d_model=32, n_layer=2, n_head=4, d_inner=48)
    problem = catch_import_error(folder, "does not work on its backbone's final states alone, so it cannot be taken in")
    assert "base:" in problem.remedy
    assert "head: pooled" not in problem.remedy
    assert describe_base(str(folder), folder).kind == "encoder"  # what the remedy says can be done


# ---- schemes of tags
SPANS = ("CITY", "NAME")


def tags_in(scheme: str, spans: Sequence[tuple[int, int, str]], length: int) -> list[str]:
    """The tags of so many tokens, as the schemes are defined; spans are (first token, behind the last, label)."""
    made = ["O"] * length
    for start, stop, label in spans:
        for place in range(start, stop):
            first, last, alone = place == start, place == stop - 1, stop - start == 1
            touches = any(other[1] == start and other[2] == label for other in spans)
            kind = {
                "bio": "B" if first else "I",
                "iob1": "B" if first and touches else "I",
                "io": "I",
                "bioes": "S" if alone else "B" if first else "E" if last else "I",
                "bilou": "U" if alone else "B" if first else "L" if last else "I",
                "bmes": "S" if alone else "B" if first else "E" if last else "M",
                "bmewo": "W" if alone else "B" if first else "E" if last else "M",
                "plain": "",
            }[scheme]
            made[place] = f"{kind}-{label}" if kind else label
    return made


def some_spans(chance: random.Random, length: int, apart: bool) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    place = 0
    while place < length:
        stop = place + chance.randint(1, 3)
        if stop <= length and chance.random() < 0.6:
            label = chance.choice(SPANS)
            if not (apart and found and found[-1][1] == place and found[-1][2] == label):
                found.append((place, stop, label))
        place = stop + chance.randint(0, 1)
    return found


@pytest.mark.parametrize("name", TAG_SCHEMES)
def test_tags_of_a_scheme_are_the_spans_that_they_were_written_for(name: str) -> None:
    scheme, chance = TAG_SCHEMES[name], random.Random(5)
    outputs = scheme.list_tags(SPANS)
    for _ in range(60):
        length = chance.randint(1, 9)
        spans = some_spans(chance, length, apart=name in ("io", "plain"))
        rows = np.full((length, len(outputs)), np.log(0.001))
        for place, tag in enumerate(tags_in(name, spans, length)):
            rows[place, outputs.index(tag)] = np.log(0.9)
        text = "x" * length
        found = decode_spans(rows, [(k, k + 1) for k in range(length)], SPANS, text, scheme)
        assert [(one.start, one.end, one.label) for one in found] == spans


@pytest.mark.parametrize("name", TAG_SCHEMES)
def test_the_likeliest_tags_are_the_best_that_some_spans_are_written_in(name: str) -> None:
    """Every sequence of tags is tried: those allowed are those that spans of the scheme give (any B in IOB1)."""
    scheme, labels = TAG_SCHEMES[name], ("A",)
    outputs = scheme.list_tags(labels)
    written = {
        tuple(outputs.index(tag) for tag in tags_in(name, [(*span, "A") for span in spans], 4))
        for count in range(5)
        for spans in product([(i, j) for i in range(4) for j in range(i + 1, 5)], repeat=count)
        if all(one[1] <= other[0] for one, other in pairwise(spans))
    }
    if name == "iob1":
        written = set(product(range(3), repeat=4))
    chance = np.random.default_rng(3)
    for _ in range(30):
        rows = np.log(chance.dirichlet(np.ones(len(outputs)), size=4))
        best = max(sorted(written), key=lambda path: sum(rows[k, tag] for k, tag in enumerate(path)))
        assert viterbi(rows, scheme) == list(best)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "B-A", "I-A"], "bio"),
        (["I-A", "O", "B-A", "B-B", "I-B"], "bio"),
        (["O", "B-A"], "bio"),
        (["O", "I-A", "B-A", "I-B"], "iob1"),
        (["O", "I-A", "I-B"], "io"),
        (["O", "B-A", "I-A", "L-A", "U-A"], "bilou"),
        (["O", "B-A", "L-A", "U-A", "U-B"], "bilou"),
        (["O", "B-A", "I-A", "E-A", "S-A"], "bioes"),
        (["O", "A", "B"], "plain"),
    ],
)
def test_a_scheme_is_known_by_the_names_of_its_tags(tags: list[str], expected: str) -> None:
    assert detect_scheme_name(tags) == expected
    assert set(parse_labels(tags, TAG_SCHEMES[expected])) <= {"A", "B"}


@pytest.mark.parametrize(
    "tags",
    [
        ["B-A", "I-A"],
        ["O", "B-A", "L-A", "E-A"],
        ["O", "B-A", "I-A", "MISC"],
        ["O", "L-A", "I-A"],
        ["O", "B-A", "I-A", "B-A"],
        ["O"],
    ],
)
def test_tags_of_no_scheme_are_refused(tags: list[str]) -> None:
    with pytest.raises(ValueError, match=r"no tag|is no|is there twice|not the kinds|there is no"):
        parse_labels(tags, TAG_SCHEMES[detect_scheme_name(tags)])


def tagger(folder: Path, names: Sequence[str]) -> Path:
    """A token classifier with these outputs, sure enough of them."""
    save_base(folder, "bert", kind=TOKEN_CLASSIFIER, **make_label_config(names))
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    torch.manual_seed(11)
    tensors["classifier.weight"] = torch.randn_like(tensors["classifier.weight"]) * 3
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def groups(folder: Path) -> list[list[tuple[int, int, str]]]:
    """What transformers' pipeline finds: neighbouring tokens of one label, and a B begins another."""
    pipe: Any = transformers.pipeline("token-classification", model=str(folder), aggregation_strategy="simple")
    return [
        [(g["start"], g["end"], g["entity_group"]) for g in pipe(text) if g["entity_group"] != "O"] for text in TEXTS
    ]


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "I-CITY", "I-NAME"], None),
        (["I-NAME", "I-CITY", "O"], None),
        (["CITY", "O", "NAME"], None),
        (["O", "B-CITY", "I-CITY", "B-NAME", "I-NAME"], "iob1"),
        (["O", "I-CITY", "B-NAME", "I-NAME"], None),  # no B-CITY: IOB1
    ],
)
def test_spans_are_those_of_the_pipeline(tmp_path: Path, names: list[str], scheme: str | None) -> None:
    folder = tagger(tmp_path / "tagger", names)
    expected = groups(folder)
    import_folder(folder, tmp_path / "out", scheme=scheme)
    mine = [[(s["start"], s["end"], s["label"]) for s in one.answer["spans"]] for one in answers(tmp_path / "out")]
    assert mine == expected
    assert sum(map(len, expected)) > 4


@pytest.mark.parametrize("name", ["bioes", "bilou"])
@pytest.mark.parametrize("left", ["", "I-NAME"])
def test_outputs_of_other_schemes_are_read_in_their_own(tmp_path: Path, name: str, left: str) -> None:
    """In any order, and where a model lacks a tag: the spans are those of the likeliest path over stock logits."""
    scheme = TAG_SCHEMES[name]
    outputs = scheme.list_tags(SPANS)
    names = [tag for tag in outputs if tag != left]
    random.Random(1).shuffle(names)
    folder = tagger(tmp_path / "tagger", names)
    import_folder(folder, tmp_path / "out")
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    count = 0
    made = predictor_files.load_predictor(tmp_path / "out", TorchBackbonePool())
    order: Any = made.task
    for text, one in zip(TEXTS, answers(tmp_path / "out"), strict=True):
        given = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        places = [tuple(place) for place in given.pop("offset_mapping")[0].tolist()]
        with torch.no_grad():
            logits = model(**given).logits[0].double().log_softmax(-1).numpy()
        wanted = scheme.list_tags(order.span_labels)
        real = [k for k, place in enumerate(places) if place[0] < place[1]]
        rows = np.stack([[logits[k, names.index(tag)] if tag in names else -1e4 for tag in wanted] for k in real])
        found = decode_spans(rows, [places[k] for k in real], order.span_labels, text, scheme)
        assert [(s["start"], s["end"], s["label"]) for s in one.answer["spans"]] == [
            (f.start, f.end, f.label) for f in found
        ]
        count += len(found)
    assert count > 2


def test_a_scheme_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tagger(tmp_path / "tagger", ["O", "B-A", "I-A"])
    assert "--scheme" in catch_import_error(folder, "no tag scheme 'bilu'; did you mean 'bilou'", scheme="bilu").where
    catch_import_error(folder, "no tags of one scheme: there is no L-A or U-A", scheme="bilou")
    plain = save_base(tmp_path / "plain", "bert", kind=TEXT_CLASSIFIER, **NAMED)
    catch_import_error(plain, "for classifiers of tokens", scheme="io")


def test_it_answers_and_is_evaluated_as_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loratory.cli import main

    folder = tagger(tmp_path / "tagger", ["O", "B-CITY", "I-CITY", "L-CITY", "U-CITY"])
    import_folder(folder, tmp_path / "out")
    spans = answers(tmp_path / "out")[1].answer
    rows = [{"text": TEXTS[1], **spans}] * 3
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    for words in (["predict", "out", TEXTS[1]], ["evaluate", "out", "--data", "d.jsonl"]):
        monkeypatch.setattr("sys.argv", ["loratory", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
