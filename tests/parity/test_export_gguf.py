"""GGUF files hold the fit: read back from the file alone they give its tokens and probabilities; llama.cpp agrees."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from export_fits import (
    LABELS,
    PROBES,
    export_to,
    list_prompts,
    make_decoder,
    make_decoder_from,
    make_label_encoder,
    make_sentencepiece_tokenizer,
    predict_next_tokens,
    save_fit,
    save_sentencepiece_base,
)
from loratory.artifacts.manifests import verify_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.errors import MissingExtra, ParityError, UnsupportedTask
from loratory.experiment.export_fit import load_exporter
from loratory.exporting.decoder_fits import find_prompt_frame
from loratory.exporting.gguf import architectures as gguf_architectures
from loratory.exporting.gguf import byte_level, sentencepiece
from loratory.exporting.gguf import files as gguf_files
from loratory.exporting.gguf import vocabulary as vocabularies
from loratory.exporting.gguf.files import GgufFile
from loratory.exporting.gguf.layout import build_grammar
from loratory.exporting.gguf.model import open_gguf
from loratory.predictors.decoder import Decoder
from loratory.predictors.prompt_files import Prompt
from loratory.protocols import GenerateRequest, Network
from loratory.specs.generation import GenerationSpec
from loratory.tasks.generate import Generate
from node_programs import find_node_modules, run_node
from tiny_models import CHATML, END_OF_TEXT, BackboneOf, make_bpe_tokenizer

pytest.importorskip("gguf", reason="the extra gguf is not installed")
BIASED = {"attention_bias": True, "num_key_value_heads": 2}  # q and k of unlike shapes, biases that are turned too
FAMILIES: dict[str, dict[str, Any]] = {"llama": BIASED, "qwen3": {}, "smollm3": {"num_hidden_layers": 4}}
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96}  # rows of whole blocks of 32
MAX_DIFFERENCE = {"f32": 1e-5, "f16": 2e-3, "q8_0": 5e-2}  # of a probability of the next token
MAX_TIE = 0.02  # of a logit: as far as two tokens lie apart that sixteen bits can exchange
KINDS = ["f32", "f16", "q8_0"]
Made = Callable[[str], tuple[Decoder, Path]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A family's fit and its folder with all types of weights."""
    home = tmp_path_factory.mktemp("gguf")
    known: dict[str, Decoder] = {}

    def make(family: str) -> tuple[Decoder, Path]:
        if family not in known:
            known[family] = make_decoder(home / f"base-{family}", family, **WIDE, **FAMILIES[family])
            fit = save_fit(home / f"fit-{family}", known[family])
            export_to(fit, "gguf", home / family, types=KINDS)
        return known[family], home / family

    return make


def list_whole_prompts(folder: Path) -> list[str]:
    frame = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
    return [f"{frame['before']}{text}{frame['after']}" for text in PROBES[:-1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_files_alone_give_the_fit_s_tokens_and_probabilities(family: str, exported: Made) -> None:
    decoder, folder = exported(family)
    verify_artifact(folder)
    expected, ids = predict_next_tokens(decoder), list_prompts(decoder)
    assert expected.max() > 0.02, "the fit says the same of every token: nothing was compared"
    apart = {}
    for kind in KINDS:
        stages = open_gguf(folder, kind).run_stages(list_whole_prompts(folder))
        assert [one.tokens for one in stages] == ids
        found = np.array([one.probabilities for one in stages])
        apart[kind] = float(np.abs(found - expected).max())
        assert apart[kind] < MAX_DIFFERENCE[kind]
    assert apart["f32"] < apart["f16"] < apart["q8_0"]
    assert load_exporter("gguf").open(folder).run_stages(["a"])[0].logits is not None


def test_a_tokenizer_that_normalises_as_llama_cpp_does_not_is_refused(tmp_path: Path) -> None:
    """Qwen's tokenizer composes accents (NFC) before it reads them; llama.cpp does not, and an answer could differ."""
    fit = save_fit(tmp_path / "fit", make_decoder(tmp_path / "base", "qwen2", **WIDE))
    with pytest.raises(ParityError) as refused:
        export_to(fit, "gguf", tmp_path / "out")
    assert refused.value.stage == "tokens"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_reads_the_same_tokens_and_writes_the_same_text(family: str, exported: Made, tmp_path: Path) -> None:
    modules = find_node_modules("node-llama-cpp")
    decoder, folder = exported(family)
    prompts = list_whole_prompts(folder)
    (tmp_path / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    made = run_node("llama.mjs", folder / "model-f32.gguf", tmp_path / "prompts.json", "12", modules=modules)
    ids = list_prompts(decoder)
    assert [tuple(one["ids"]) for one in made["found"]] == ids
    end = decoder.chat.end_token_id
    written = run_locally([GenerateRequest(decoder.network, one, 12, frozenset({end})) for one in ids])
    for row, one, own in zip(ids, made["found"], written, strict=True):
        _compare_greedy(open_gguf(folder, "f32").model, row, tuple(one["written"]), own.ids)
    assert made["tokens"]["eot"] == end
    held = run_node(
        "llama.mjs",
        folder / "model-q8_0.gguf",
        tmp_path / "prompts.json",
        "40",
        folder / "grammar.gbnf",
        modules=modules,
    )
    assert {one["text"] for one in held["found"]} <= {f'{{"label":"{label}"}}' for label in LABELS}


@torch.no_grad()
def _compare_greedy(model: Any, prompt: tuple[int, ...], found: tuple[int, ...], own: tuple[int, ...]) -> None:
    """The same tokens; from where two were as likely as one another on, each the likeliest behind those before it.

    llama.cpp keeps keys and values in sixteen bits, and random weights leave tokens close to one another.
    """
    assert found
    assert found[0] == own[0]
    if found == own:
        return
    logits = model(input_ids=torch.tensor([[*prompt, *found]])).logits[0, len(prompt) - 1 : -1]
    behind = logits.max(-1).values - logits.gather(-1, torch.tensor(found)[:, None])[:, 0]
    assert behind.max() < MAX_TIE


def test_the_metadata_says_where_texts_begin_and_answers_end(exported: Made) -> None:
    decoder, folder = exported("llama")
    file = GgufFile(folder / "model-f16.gguf")
    tokenizer = decoder.chat.tokenizer
    assert file.read("tokenizer.ggml.bos_token_id") == tokenizer.bos_token_id
    assert file.read("tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id
    assert file.read("tokenizer.ggml.eot_token_id") == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert file.read("tokenizer.ggml.add_bos_token") is False, "the template writes what stands before a prompt"
    assert file.read("tokenizer.chat_template") == tokenizer.chat_template
    assert file.read("tokenizer.ggml.pre") == "gpt-2"
    assert file.read("general.description") == "./base-llama, fine-tuned by Loratory", "no path of this machine"


def test_a_base_without_a_template_gets_its_start_token_once(tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base", "llama", None)
    export_to(save_fit(tmp_path / "fit", decoder), "gguf", tmp_path / "out", types=["f32"])
    model = open_gguf(tmp_path / "out")
    assert model.vocabulary.adds_start
    stages = model.run_stages(list_whole_prompts(tmp_path / "out"))
    assert [one.tokens for one in stages] == list_prompts(decoder)
    found = np.array([one.probabilities for one in stages])
    assert np.abs(found - predict_next_tokens(decoder)).max() < MAX_DIFFERENCE["f32"]


def test_the_modelfile_is_the_fit_s_prompt(exported: Made) -> None:
    decoder, folder = exported("llama")
    text = (folder / "Modelfile").read_text(encoding="utf-8")
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    rendered = template.replace('{{"{{"}}', "{{").replace("{{ .Prompt }}", "hello")
    ids = decoder.chat.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert tuple(ids) == decoder.encode_prompt({"text": "hello"})
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert "PARAMETER temperature 0" in text
    assert text.startswith("FROM ./model-q8_0.gguf\n")


def test_rows_that_are_no_whole_blocks_stay_in_sixteen_bits(tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base")  # 48 inputs
    done = export_to(save_fit(tmp_path / "fit", decoder), "gguf", tmp_path / "out", types=["q8_0"])
    assert any("2 matrices of model-q8_0.gguf are f16" in note for note in done.notes)
    stages = open_gguf(tmp_path / "out").run_stages(list_whole_prompts(tmp_path / "out"))
    assert np.abs(np.array([one.probabilities for one in stages]) - predict_next_tokens(decoder)).max() < 0.03


# ---- parts
def test_turning_queries_and_keys_is_undone() -> None:
    weight = np.arange(48, dtype=np.float32).reshape(8, 6)
    turned = gguf_architectures.pair_neighbours(weight, 2)
    assert turned[:, 0].tolist() == [0, 12, 6, 18, 24, 36, 30, 42]  # each row beside the one of the other half
    assert (gguf_architectures.split_halves(turned, 2) == weight).all()
    bias = np.arange(8, dtype=np.float32)
    assert gguf_architectures.pair_neighbours(bias, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_grammar_quotes_what_its_language_reads() -> None:
    assert build_grammar(['{"a":"b\\n"}', "x\ty\x01"]) == 'root ::= "{\\"a\\":\\"b\\\\n\\"}" | "x\\ty\\x01"\n'


def test_a_grammar_with_odd_labels_holds_in_llama_cpp(exported: Made, tmp_path: Path) -> None:
    modules = find_node_modules("node-llama-cpp")
    _, folder = exported("llama")
    texts = ['say "hi" \\ there', "zwei\nZeilen ü"]
    (tmp_path / "g.gbnf").write_text(build_grammar(texts), encoding="utf-8")
    (tmp_path / "prompts.json").write_text(json.dumps(["a", "b c"]), encoding="utf-8")
    made = run_node(
        "llama.mjs",
        folder / "model-f32.gguf",
        tmp_path / "prompts.json",
        "60",
        tmp_path / "g.gbnf",
        modules=modules,
    )
    assert {one["text"] for one in made["found"]} <= set(texts)


@pytest.mark.parametrize("rule", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_a_tokenizer_comes_back_from_the_metadata(rule: str) -> None:
    tokenizer = make_bpe_tokenizer(start=False)
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    whole_words, known = next((whole, known) for name, whole, known in byte_level.RULES if name == rule)
    raw["pre_tokenizer"] = byte_level.add_trimming(known)
    raw["model"]["ignore_merges"] = whole_words
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(raw))
    size, end = len(tokenizer) + 3, tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    vocabulary = vocabularies.read_vocabulary(tokenizer, size, end, False, "toy")
    assert vocabulary.rule == rule
    assert vocabulary.types[-3:] == (vocabularies.UNUSED,) * 3
    assert vocabulary.types[end] == vocabularies.CONTROL
    made = vocabularies.build_tokenizer(vocabulary)
    for text in (*PROBES, "call 12345 now", "don't\n\n  stop", f"a{END_OF_TEXT}b"):
        assert vocabularies.encode(made, vocabulary, text) == tokenizer(text)["input_ids"]


def test_a_sentencepiece_tokenizer_comes_back_from_the_metadata() -> None:
    tokenizer = make_sentencepiece_tokenizer()
    vocabulary = vocabularies.read_vocabulary(tokenizer, len(tokenizer), 2, True, "toy")
    assert (vocabulary.model, vocabulary.adds_start) == ("llama", True)
    made = vocabularies.build_tokenizer(vocabulary)
    for text in (*PROBES, "a</s>b c", "\n\n x"):
        assert vocabularies.encode(made, vocabulary, text) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("template", [CHATML, None])
def test_llama_cpp_reads_the_pieces_of_a_sentencepiece_tokenizer(template: str | None, tmp_path: Path) -> None:
    decoder = make_decoder_from(save_sentencepiece_base(tmp_path / "base", template))
    export_to(save_fit(tmp_path / "fit", decoder), "gguf", tmp_path / "out", types=["f32"])
    prompts, ids = list_whole_prompts(tmp_path / "out"), list_prompts(decoder)
    stages = open_gguf(tmp_path / "out").run_stages(prompts)
    assert [one.tokens for one in stages] == ids
    modules = find_node_modules("node-llama-cpp")
    (tmp_path / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    made = run_node("llama.mjs", tmp_path / "out" / "model-f32.gguf", tmp_path / "prompts.json", "2", modules=modules)
    assert [tuple(one["ids"]) for one in made["found"]] == ids


def test_merges_that_scores_cannot_say_are_refused() -> None:
    raw = json.loads(make_sentencepiece_tokenizer().backend_tokenizer.to_str())
    assert sentencepiece.find_problem(raw) is None
    merges = [list(pair) for pair in sentencepiece.list_pairs(raw)]
    assert sentencepiece.find_problem({**raw, "model": {**raw["model"], "merges": merges[:-1]}}) is not None
    twice = next(k for k in range(1, len(merges)) if "".join(merges[k]) == "".join(merges[k - 1]))
    moved = [*merges[:twice], *merges[twice + 1 :], merges[twice]]
    assert sentencepiece.find_problem({**raw, "model": {**raw["model"], "merges": moved}}) is not None
    assert "space" in str(sentencepiece.find_problem({**raw, "normalizer": None}))


def test_composed_characters_are_told_of(tmp_path: Path) -> None:
    tokenizer = make_bpe_tokenizer(start=False)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert vocabularies.read_vocabulary(tokenizer, len(tokenizer), 1, False, "toy").composes


def test_a_tokenizer_that_llama_cpp_would_read_otherwise_is_refused() -> None:
    def refuse(change: Callable[[Any], None]) -> str:
        tokenizer = make_bpe_tokenizer(start=False)
        change(tokenizer)
        with pytest.raises(UnsupportedTask) as raised:
            vocabularies.read_vocabulary(tokenizer, len(tokenizer), 1, True, "toy")
        return str(raised.value)

    def cut_by_spaces(tokenizer: Any) -> None:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def lower(tokenizer: Any) -> None:
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()

    def take_words(tokenizer: Any) -> None:
        tokenizer._tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))

    def strip_spaces(tokenizer: Any) -> None:
        tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<x>", lstrip=True)])

    assert "spaces beside '<x>'" in refuse(strip_spaces)
    assert "no name for the rule" in refuse(cut_by_spaces)
    assert "changes texts first" in refuse(lower)
    assert "WordLevel" in refuse(take_words)


def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path, backbone_of: BackboneOf) -> None:
    refused: dict[str, dict[str, Any]] = {
        "phi3": {},
        "other layers than every fourth": {"no_rope_layers": [0, 1]},
        "scaled (linear)": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        "activation is gelu": {"hidden_act": "gelu"},
        "layers have biases": {"mlp_bias": True},
    }
    for number, (told, more) in enumerate(refused.items()):
        family = told if told == "phi3" else "smollm3" if "no_rope_layers" in more else "llama"
        decoder = make_decoder(tmp_path / f"base-{number}", family, **more)
        with pytest.raises(UnsupportedTask, match=told.replace("(", r"\(").replace(")", r"\)")):
            export_to(save_fit(tmp_path / f"fit-{number}", decoder), "gguf", tmp_path / "out")
    with pytest.raises(UnsupportedTask, match="does not write"):
        export_to(save_fit(tmp_path / "e", make_label_encoder(backbone_of("bert"))), "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    fit = save_fit(tmp_path / "fit", make_decoder(tmp_path / "base"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"gguf is not installed"):
        export_to(fit, "gguf", tmp_path / "out")
    assert isinstance(gguf_files.check_gguf(), MissingExtra)


def test_a_prompt_with_quotes_or_braces(tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base")
    braces = replace(decoder, prompt=Prompt("1", "Use {{x}}", "{text}"))
    export_to(save_fit(tmp_path / "a", braces), "gguf", tmp_path / "a-out", types=["f16"])
    assert '{{"{{"}}x}}' in (tmp_path / "a-out" / "Modelfile").read_text(encoding="utf-8")
    quotes = replace(decoder, prompt=Prompt("1", 'Use """', "{text}"))
    done = export_to(save_fit(tmp_path / "b", quotes), "gguf", tmp_path / "b-out", types=["f16"])
    assert any("three quotation marks" in note for note in done.notes)
    assert not (tmp_path / "b-out" / "Modelfile").exists()
    frame = find_prompt_frame(quotes)
    assert frame is not None
    assert '"""' in frame.before


@pytest.mark.parametrize("schema", [None, {"type": "object", "properties": {"a": {"type": "string", "maxLength": 4}}}])
def test_a_fit_that_writes_text_or_json(schema: Any, tmp_path: Path) -> None:
    labels = make_decoder(tmp_path / "base")
    how, prompt = GenerationSpec(max_new_tokens=9, stop=("END",)), Prompt("1", "Be brief.", "Q: {text}")
    task, template = Generate(answer_schema=schema), "talk" if schema is None else "fields"
    decoder = Decoder(task, template, labels.network, prompt, 100, writing=how)
    done = export_to(save_fit(tmp_path / "fit", decoder), "gguf", tmp_path / "out", types=["f32"])
    assert any("one turn" in note for note in done.notes)
    prompts = list_whole_prompts(tmp_path / "out")
    asked = [decoder.encode_prompt({"prompt": text}) for text in PROBES[:-1]]
    assert [one.tokens for one in open_gguf(tmp_path / "out").run_stages(prompts)] == asked
    modelfile = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8")
    assert "PARAMETER num_predict 9" in modelfile
    assert 'PARAMETER stop "END"' in modelfile
    assert not (tmp_path / "out" / "grammar.gbnf").exists()
    assert (tmp_path / "out" / "schema.json").exists() == (schema is not None)


def test_a_prompted_base_is_written_without_an_adapter(tmp_path: Path) -> None:
    decoder = make_decoder(tmp_path / "base")
    bare = replace(decoder, network=Network(decoder.network.backbone))
    export_to(save_fit(tmp_path / "fit", bare), "gguf", tmp_path / "out", types=["f32"])
    found = open_gguf(tmp_path / "out").run_stages(list_whole_prompts(tmp_path / "out"))
    assert np.abs(np.array([one.probabilities for one in found]) - predict_next_tokens(bare)).max() < 1e-5


def test_torch_reads_every_weight_of_the_file(exported: Made) -> None:
    """A weight that is not in the file would be one of chance."""
    _, folder = exported("qwen3")
    model = open_gguf(folder, "f32").model
    assert all(bool(torch.isfinite(t).all()) for t in model.state_dict().values())
    names = {one.name for one in GgufFile(folder / "model-f32.gguf")._reader.tensors}
    assert len(names) == len(model.state_dict()) - int(model.config.tie_word_embeddings)
