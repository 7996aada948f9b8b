"""Faults of tokenizer.json: other ids for the same text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planted_faults.faults import GRAPH, WEIGHTS, WRITER, PlantedFault
from planted_faults.folders import ExportedFolder

CONFIG_NAMES = {  # what tokenizer_config.json calls an option of the BERT normaliser
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
    "clean_text": "clean_text",
}


def change_normalizer(option: str, value: bool) -> Callable[[ExportedFolder], None]:
    """Another option of the normaliser, in both files that say it."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(folder.files["tokenizer"]) as tokenizer:
            tokenizer["normalizer"][option] = value
        with folder.edit_json(folder.beside("tokenizer", "tokenizer_config.json")) as config:
            config[CONFIG_NAMES[option]] = value

    return plant


def change_tokenizer(change: Callable[[dict[str, Any]], None]) -> Callable[[ExportedFolder], None]:
    """Another tokenizer.json."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(folder.files["tokenizer"]) as tokenizer:
            change(tokenizer)

    return plant


def change_window(factor: float) -> Callable[[ExportedFolder], None]:
    """Texts are cut elsewhere, and both files of the tokenizer say so."""

    def plant(folder: ExportedFolder) -> None:
        cut = max(4, int(folder.certificate["model"]["max_tokens"] * factor))
        with folder.edit_json(folder.files["tokenizer"]) as tokenizer:
            tokenizer["truncation"] = {**(tokenizer["truncation"] or _right_truncation(cut)), "max_length": cut}
        with folder.edit_json(folder.beside("tokenizer", "tokenizer_config.json")) as config:
            config["model_max_length"] = cut

    return plant


def _right_truncation(cut: int) -> dict[str, Any]:
    return {"direction": "Right", "max_length": cut, "strategy": "LongestFirst", "stride": 0}


def cut_on_the_left(folder: ExportedFolder) -> None:
    """The end of a long text is read, not its beginning."""
    with folder.edit_json(folder.files["tokenizer"]) as tokenizer:
        tokenizer["truncation"]["direction"] = "Left"
    with folder.edit_json(folder.beside("tokenizer", "tokenizer_config.json")) as config:
        config["truncation_side"] = "left"


def pad_on_the_left(folder: ExportedFolder) -> None:
    """Readers are told to pad on the other side, where positions of a BERT no longer begin at the text."""
    with folder.edit_json(folder.beside("tokenizer", "tokenizer_config.json")) as config:
        config["padding_side"] = "left"


def counts_padding(folder: ExportedFolder) -> bool:
    """Whether positions are counted from the beginning of a row, padding included; RoBERTa counts real tokens."""
    return folder.certificate["model"]["family"] not in ("roberta", "xlm-roberta")


def is_bert(folder: ExportedFolder) -> bool:
    """Whether the tokenizer has BERT's normaliser, template and pieces."""
    tokenizer = folder.read_json(folder.files["tokenizer"])
    kinds = [(tokenizer[part] or {}).get("type") for part in ("normalizer", "post_processor", "model")]
    return kinds == ["BertNormalizer", "TemplateProcessing", "WordPiece"]


def is_cut(folder: ExportedFolder) -> bool:
    """Whether tokenizer.json cuts texts."""
    return bool(folder.read_json(folder.files["tokenizer"])["truncation"])


def has_beginning(folder: ExportedFolder) -> bool:
    """Whether a writer's tokenizer puts a token before a text, or has special tokens that could stand there."""
    return bool(folder.read_json(folder.files["tokenizer"])["added_tokens"])


def remove_template(tokenizer: dict[str, Any]) -> None:
    """No special tokens."""
    tokenizer["post_processor"] = None


def repeat_first(tokenizer: dict[str, Any]) -> None:
    """The first special token twice."""
    single = tokenizer["post_processor"]["single"]
    single.insert(0, single[0])


def drop_last(tokenizer: dict[str, Any]) -> None:
    """No special token behind the text."""
    tokenizer["post_processor"]["single"].pop()


def begin_twice(tokenizer: dict[str, Any]) -> None:
    """A token before every prompt, which the template of the prompt holds already or does not want."""
    token = tokenizer["added_tokens"][0]
    name = token["content"]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {name: {"id": name, "ids": [token["id"]], "tokens": [name]}},
    }


def swap_frequent_pieces(tokenizer: dict[str, Any]) -> None:
    """Two rows of the vocabulary change places."""
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["the"], vocabulary["a"] = vocabulary["a"], vocabulary["the"]


def rotate_vocabulary(tokenizer: dict[str, Any]) -> None:
    """Another tokenizer of the same size: every word has the id of the one before it."""
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = tokenizer["model"]["vocab"]
    words = sorted((word for word in vocabulary if word not in special), key=vocabulary.__getitem__)
    ids = [vocabulary[word] for word in words]
    vocabulary.update(zip(words, [*ids[1:], ids[0]], strict=True))


def drop_prefix(tokenizer: dict[str, Any]) -> None:
    """Pieces inside a word are looked for as if they began one."""
    tokenizer["model"]["continuing_subword_prefix"] = ""


def shorten_words(tokenizer: dict[str, Any]) -> None:
    """Long words are unknown."""
    tokenizer["model"]["max_input_chars_per_word"] = 6


def drop_last_merge(tokenizer: dict[str, Any]) -> None:
    """Half of the merges of a byte-level tokenizer are lost."""
    merges = tokenizer["model"]["merges"]
    del merges[len(merges) // 2 :]


def has_merges(folder: ExportedFolder) -> bool:
    """Whether the tokenizer joins pairs."""
    return bool(folder.read_json(folder.files["tokenizer"])["model"].get("merges"))


ENCODERS = (WEIGHTS, GRAPH)
TOKENS = ("tokens",)
TOKENIZER_FAULTS = (
    PlantedFault("lowercasing is off", ENCODERS, TOKENS, change_normalizer("lowercase", False), suits=is_bert),
    PlantedFault("accents are kept", ENCODERS, TOKENS, change_normalizer("strip_accents", False), suits=is_bert),
    PlantedFault(
        "control characters are kept", ENCODERS, TOKENS, change_normalizer("clean_text", False), suits=is_bert
    ),
    PlantedFault(
        "ideographs are no words", ENCODERS, TOKENS, change_normalizer("handle_chinese_chars", False), suits=is_bert
    ),
    PlantedFault("special tokens are missing", ENCODERS, TOKENS, change_tokenizer(remove_template), suits=is_bert),
    PlantedFault("the first token stands twice", ENCODERS, TOKENS, change_tokenizer(repeat_first), suits=is_bert),
    PlantedFault("the last token is missing", ENCODERS, TOKENS, change_tokenizer(drop_last), suits=is_bert),
    PlantedFault("two words change ids", ENCODERS, TOKENS, change_tokenizer(swap_frequent_pieces), suits=is_bert),
    PlantedFault("another vocabulary", ENCODERS, TOKENS, change_tokenizer(rotate_vocabulary), suits=is_bert),
    PlantedFault("pieces without their prefix", ENCODERS, TOKENS, change_tokenizer(drop_prefix), suits=is_bert),
    PlantedFault("long words are unknown", ENCODERS, TOKENS, change_tokenizer(shorten_words), suits=is_bert),
    PlantedFault("texts are cut too early", ENCODERS, TOKENS, change_window(0.5)),
    PlantedFault("texts are cut too late", ENCODERS, TOKENS, change_window(1.5)),
    PlantedFault("texts are cut on the left", ENCODERS, TOKENS, cut_on_the_left, suits=is_cut),
    PlantedFault("rows are padded on the left", ENCODERS, ("batch", "tokens"), pad_on_the_left, suits=counts_padding),
    PlantedFault(
        "a token stands before every prompt", (WRITER,), TOKENS, change_tokenizer(begin_twice), suits=has_beginning
    ),
    PlantedFault("merges are lost", (WRITER,), TOKENS, change_tokenizer(drop_last_merge), suits=has_merges),
)
