"""What the router would find and take, and what is broken: on folders with headers of weights and no model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.artifacts.manifests import stage_artifact
from loratory.errors import ArtifactError
from loratory.integrations.semantic_router.discovery_report import check_discovery, format_discovery, inspect_models
from loratory.integrations.semantic_router.model_discovery import Discovery, discover_models, read_tensor_shapes
from loratory.integrations.semantic_router.router_names import (
    ROUTER_TASKS,
    adapter_folder_name,
    detect_architecture,
    detect_router_task,
    make_label_mappings,
)

NAMES: Mapping[str, Sequence[str]] = {
    "intent": ("law", "math", "other"),
    "pii": ("O", "B-PERSON", "I-PERSON"),
    "jailbreak": ("benign", "jailbreak"),
}
CLASSES = {"bert": "Bert", "roberta": "Roberta", "modernbert": "ModernBert", "deberta-v2": "DebertaV2"}


def tensors(file: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """A safetensors file of zeros."""
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(place))


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def model(home: Path, task: str, kind: str = "bert", name: str | None = None, rank: int = 8) -> Path:
    """A merged model that is in order."""
    job, names = ROUTER_TASKS[task], NAMES[task]
    folder = home / (name or f"{adapter_folder_name(job, kind, rank)}_rust")
    folder.mkdir(parents=True)
    maps = {"id2label": {str(i): one for i, one in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}
    config = {
        "model_type": kind,
        "hidden_size": 4,
        "vocab_size": 5,
        "architectures": [CLASSES[kind] + job.class_suffix],
    }
    write(folder / "config.json", {**config, **maps})
    tensors(folder / "model.safetensors", {"x.word_embeddings.weight": (5, 4), "classifier.weight": (len(names), 4)})
    write(folder / "tokenizer.json", {})
    write(folder / "lora_config.json", {"rank": rank})
    for file, mapping in make_label_mappings(job, names).items():
        write(folder / file, mapping)
    return folder


def three(home: Path, kind: str = "bert") -> dict[str, Path]:
    return {task: model(home, task, kind) for task in ROUTER_TASKS}


def edit(file: Path, **values: Any) -> None:
    write(file, {**json.loads(file.read_text(encoding="utf-8")), **values})


def problems(found: Discovery, folder: Path) -> list[str]:
    return [said for one in found.models if one.folder.name == folder.name for said in one.problems]


# ---- names
@pytest.mark.parametrize(
    ("name", "task", "architecture"),
    [
        ("lora_intent_classifier_bert-base-uncased_r8_model_rust", "intent", "bert"),
        ("LoRA_PII_Detector_RoBERTa-base_r8_token_model", "pii", "roberta"),
        ("lora_jailbreak_classifier_modernbert-base_model", "jailbreak", "modernbert"),
        ("lora_jailbreak_classifier_roberta_r8_model", "jailbreak", "bert"),  # as the router falls back
        ("mmbert32k-intent-classifier-merged", "intent", "bert"),
        ("modernbert-base-pii_detector-merged", "pii", "modernbert"),
        ("my_lora_intent_classifier", None, "bert"),
        ("intent-classifier", None, "bert"),
        ("something-merged", None, "bert"),
    ],
)
def test_a_name_is_read_as_the_router_reads_it(name: str, task: str | None, architecture: str) -> None:
    assert (detect_router_task(name), detect_architecture(name)) == (task, architecture)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("task", list(ROUTER_TASKS))
def test_our_names_are_found_again(task: str, kind: str) -> None:
    name = adapter_folder_name(ROUTER_TASKS[task], kind, 16)
    assert (detect_router_task(name), detect_architecture(name)) == (task, kind)


# ---- what is taken
def test_the_first_architecture_with_all_three_is_taken(tmp_path: Path) -> None:
    for kind in ("modernbert", "roberta"):
        three(tmp_path / kind, kind)
    model(tmp_path, "intent")  # of bert there is but one
    found = discover_models(tmp_path)
    assert (found.architecture, found.is_usable) == ("roberta", True)
    assert {one.folder.parent.name for one in found.chosen.values()} == {"roberta"}
    three(tmp_path / "late", "bert")
    found = discover_models(tmp_path)
    assert found.architecture == "bert"
    assert found.chosen["intent"].folder.parent.name == "late"  # "late" stands before "lora_..."


def test_of_a_task_the_first_name_is_taken(tmp_path: Path) -> None:
    three(tmp_path)
    model(tmp_path, "intent", rank=16)
    found = discover_models(tmp_path)
    assert "_r16_" in found.chosen["intent"].folder.name
    assert len(found.models) == 4


def test_nothing_is_taken_without_all_three(tmp_path: Path) -> None:
    model(tmp_path, "intent")
    model(tmp_path, "pii", "roberta")
    found = discover_models(tmp_path)
    assert (found.architecture, dict(found.chosen), found.is_usable) == (None, {}, False)
    assert "bert lacks pii, jailbreak; roberta lacks intent, jailbreak" in found.reason
    with pytest.raises(ArtifactError, match="has all three tasks"):
        check_discovery(inspect_models(tmp_path), tmp_path)


def test_a_link_is_passed_over_as_the_router_does(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "lora_intent_classifier_x").symlink_to(model(tmp_path / "else", "intent"))
    assert discover_models(tmp_path / "models").models == ()


def test_an_adapter_that_stands_before_its_twin_is_told(tmp_path: Path) -> None:
    twin = three(tmp_path)["intent"]
    plain = model(tmp_path, "intent", name=twin.name.removesuffix("_rust"))
    (plain / "model.safetensors").unlink()
    tensors(
        plain / "adapter_model.safetensors", {"a.lora_A.weight": (8, 4), "base_model.model.classifier.weight": (3, 4)}
    )
    write(plain / "adapter_config.json", {"r": 8})
    found = discover_models(tmp_path)
    assert found.chosen["intent"].holds == "adapter"
    assert problems(found, plain) == [
        "it holds an adapter without its base (model.safetensors is missing): the router needs the merged twin"
    ]
    with pytest.raises(ArtifactError, match="would take is broken") as caught:
        check_discovery(inspect_models(tmp_path), tmp_path)
    assert plain.name in caught.value.problem
    assert caught.value.remedy.startswith("keep the adapters' folders")


# ---- what is broken
def test_what_is_in_order_has_no_problem(tmp_path: Path) -> None:
    for kind in ("bert", "roberta", "modernbert"):
        three(tmp_path / kind, kind)
    assert all(one.problems == () for one in discover_models(tmp_path).models)
    check_discovery(inspect_models(tmp_path), tmp_path)


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "label_mapping.json", "category_mapping.json", "lora_config.json"]
)
def test_a_missing_file(tmp_path: Path, file: str) -> None:
    folder = model(tmp_path, "intent")
    (folder / file).unlink()
    assert problems(discover_models(tmp_path), folder) == [f"{file} is missing"]


def test_weights_that_are_missing_pickled_or_torn(tmp_path: Path) -> None:
    folder = model(tmp_path, "intent")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for raw, said in (
        (whole[:-4], f"it has {len(whole) - 4} bytes and its header speaks of {len(whole)}"),
        (whole[:20], "the header is cut off"),
        (b"", "the header is cut off"),
        (struct.pack("<Q", 2) + b"[]", "it has no header of safetensors"),
    ):
        file.write_bytes(raw)
        assert f"model.safetensors cannot be read: {said}" in problems(discover_models(tmp_path), folder)
    file.unlink()
    assert problems(discover_models(tmp_path), folder) == ["model.safetensors is missing"]
    (folder / "pytorch_model.bin").touch()
    assert problems(discover_models(tmp_path), folder) == ["the weights are pickled (pytorch_model.bin)"]


@pytest.mark.parametrize(
    ("task", "file", "change", "said"),
    [
        (
            "intent",
            "label_mapping.json",
            {"label_to_id": {"law": 1, "math": 0, "other": 2}},
            "label_mapping.json: label_to_id of 'law' is 1, and 0 by id2label",
        ),
        (
            "intent",
            "category_mapping.json",
            {"idx_to_category": {"0": "law", "1": "math"}},
            "category_mapping.json: idx_to_category of '2' is null, and 'other' by id2label",
        ),
        (
            "jailbreak",
            "jailbreak_type_mapping.json",
            {"label_to_idx": None},
            "jailbreak_type_mapping.json has no label_to_idx",
        ),
        ("pii", "pii_type_mapping.json", {"idx_to_label": []}, "pii_type_mapping.json has no idx_to_label"),
        (
            "intent",
            "config.json",
            {"label2id": {"law": 0}},
            "config.json: label2id of 'math' is null, and 1 by id2label",
        ),
        ("intent", "config.json", {"id2label": {"1": "law"}}, "config.json has no id2label that counts 0, 1, 2, ..."),
        (
            "intent",
            "config.json",
            {"model_type": "roberta"},
            "the router takes it for bert by its name, and config.json says roberta",
        ),
        (
            "pii",
            "config.json",
            {"architectures": ["BertForSequenceClassification"]},
            "pii needs a class that ends in ForTokenClassification, and it is ['BertForSequenceClassification']",
        ),
        (
            "intent",
            "config.json",
            {"hidden_size": 6},
            "model.safetensors: classifier.weight reads states of 4, and config.json has hidden_size 6",
        ),
        (
            "intent",
            "config.json",
            {"vocab_size": 6},
            "model.safetensors: x.word_embeddings.weight is [5, 4], and config.json says [6, 4]",
        ),
        ("intent", "lora_config.json", {"rank": 4}, "the rank differs: 4 in lora_config.json, 8 in its name"),
        ("intent", "lora_config.json", {"rank": [4]}, "the rank differs: [4] in lora_config.json, 8 in its name"),
    ],
)
def test_files_that_disagree(tmp_path: Path, task: str, file: str, change: dict[str, Any], said: str) -> None:
    folder = model(tmp_path, task)
    edit(folder / file, **change)
    assert said in problems(discover_models(tmp_path), folder)


def test_heads_that_do_not_fit(tmp_path: Path) -> None:
    folder = model(tmp_path, "intent")
    tensors(folder / "model.safetensors", {"classifier.out_proj.weight": (2, 4)})
    assert problems(discover_models(tmp_path), folder) == [
        "model.safetensors: classifier.out_proj.weight has 2 outputs, and config.json 3 labels"
    ]
    tensors(folder / "model.safetensors", {"encoder.weight": (2, 4)})
    assert problems(discover_models(tmp_path), folder)[0].startswith("model.safetensors holds no head")


def test_tags_that_are_none(tmp_path: Path) -> None:
    folder = model(tmp_path, "pii")
    names = ("O", "B-PERSON", "PERSON")
    edit(folder / "config.json", id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    for file, mapping in make_label_mappings(ROUTER_TASKS["pii"], names).items():
        write(folder / file, mapping)
    assert problems(discover_models(tmp_path), folder) == ["the labels are no BIO tags: 'PERSON' is no tag"]


def test_files_that_are_no_json_or_no_object(tmp_path: Path) -> None:
    folder = model(tmp_path, "intent")
    (folder / "config.json").write_bytes(b"{\xff")
    assert "config.json is no JSON" in problems(discover_models(tmp_path), folder)
    for odd in ("[]", "3", '{"id2label": 3}', '{"id2label": {"x": "a"}}'):
        (folder / "config.json").write_text(odd)
        assert "config.json has no id2label that counts 0, 1, 2, ..." in problems(discover_models(tmp_path), folder)


def test_an_adapters_ranks(tmp_path: Path) -> None:
    folder = model(tmp_path, "intent")
    tensors(folder / "adapter_model.safetensors", {"a.lora_A.weight": (4, 4), "a.lora_B.weight": (4, 2)})
    write(folder / "adapter_config.json", {"r": 8})
    ranks = "2, 4 in adapter_model.safetensors, 8 in adapter_config.json, 8 in lora_config.json, 8 in its name"
    assert f"the rank differs: {ranks}" in problems(discover_models(tmp_path), folder)


def test_a_file_that_was_changed_behind_its_manifest(tmp_path: Path) -> None:
    folder = model(tmp_path, "intent")
    with stage_artifact(folder, {}) as part:
        (part / "tokenizer.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{} ")
    assert any(
        "SHA-256 differs" in said and "tokenizer.json" in said for said in problems(discover_models(tmp_path), folder)
    )


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such folder"):
        discover_models(tmp_path / "nowhere")


def test_the_table_says_what_was_taken_and_what_is_broken(tmp_path: Path) -> None:
    folders = three(tmp_path)
    (folders["pii"] / "lora_config.json").unlink()
    model(tmp_path, "intent", "roberta")
    found = inspect_models(tmp_path)
    text = "\n".join(format_discovery(found))
    assert "taken (*): bert: the first of bert > roberta > modernbert with intent, pii, jailbreak" in text
    assert "  - lora_config.json is missing" in text
    assert sum(line.startswith("*") for line in format_discovery(found)) == 3
    assert json.loads(json.dumps(found)) == found
    assert found["chosen"]["pii"] == folders["pii"].name


def test_shapes_are_read_from_the_header_alone(tmp_path: Path) -> None:
    tensors(tmp_path / "x.safetensors", {"a": (2, 3), "b": (0, 7)})
    assert read_tensor_shapes(tmp_path / "x.safetensors") == {"a": (2, 3), "b": (0, 7)}
