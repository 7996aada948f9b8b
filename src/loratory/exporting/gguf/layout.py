"""The folder of a GGUF export: files of weights, a Modelfile for Ollama, a grammar, the prompt and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.backbones.loading.base_locations import make_name_portable
from loratory.backbones.loading.bases import origin_of
from loratory.exporting.decoder_fits import (
    PROMPT_FILE,
    PromptFrame,
    chat_template_of,
    find_prompt_frame,
    list_answers,
    merge_decoder,
)
from loratory.exporting.gguf import files as gguf_files
from loratory.exporting.gguf.architectures import check_architecture, read_numbers
from loratory.exporting.gguf.files import Floats, GgufDescription
from loratory.exporting.gguf.vocabulary import read_vocabulary
from loratory.predictors.decoder import Decoder

GRAMMAR_FILE, MODEL_FILE, SCHEMA_FILE = "grammar.gbnf", "Modelfile", "schema.json"
SCORED_NOTE = (
    "llama.cpp and Ollama write a label token by token; Loratory compares the probabilities of whole labels: where two "
    "labels are close the two can differ"
)
COMPOSED_NOTE = (
    "the tokenizer composes characters (NFC), and llama.cpp does not: send texts in that form, or accents can become "
    "other tokens"
)
NO_FRAME_NOTE = "options come with each input, so no prompt suits all: Modelfile and prompt.json are left out"
ONE_TURN_NOTE = (
    "prompt.json and the Modelfile are of a conversation of one turn; llama-server writes longer ones by the chat "
    "template"
)
QUOTES_NOTE = "the prompt holds three quotation marks, which end a text in a Modelfile: the Modelfile is left out"
CARD = """---
{data}
---

# {title}

A causal language model{merged} as GGUF, with tokenizer, start and stop tokens and chat template inside.
{files}

`{prompt}` holds what stands before and behind a text in the prompt (`before`, `after`) and the token that ends an
answer (`stop`). Send whole prompts: `before` + text + `after`. A text that spells a special token such as `{stop}` is
read as that token by llama.cpp; Loratory takes such texts apart, so take them out before you send them.

```bash
llama-server -m {file} -c {context}
curl -s localhost:8080/completion -d '{{"prompt": "BEFORE TEXT AFTER", "temperature": 0{grammar_use}}}'
{ollama}```
{grammar}
"""
GRAMMAR_TEXT = """
`{grammar}` (GBNF) allows the labels and nothing else: `--grammar-file {grammar}`, or `grammar` in the request. Ollama
takes no grammar in a Modelfile: send `"format"` with the JSON Schema of `{schema}`.
"""


@dataclass(frozen=True, eq=False)
class PreparedGguf:
    """A fit that can be written."""

    decoder: Decoder
    model: GgufDescription
    frame: PromptFrame | None


def prepare_gguf(decoder: Decoder, manifest: Mapping[str, Any]) -> PreparedGguf:
    """Check everything before anything is written; raises UnsupportedTask, and MissingExtra without gguf."""
    gguf_files.import_gguf()
    backbone, chat = decoder.network.backbone.unquantized, decoder.chat
    config = backbone.full_model.config
    architecture = check_architecture(config, backbone.name)
    vocabulary = read_vocabulary(
        chat.tokenizer, int(config.vocab_size), chat.end_token_id, not chat.has_template, backbone.name
    )
    model = GgufDescription(
        architecture,
        read_numbers(config),
        vocabulary,
        str(manifest.get("contender") or "fit"),
        f"{make_name_portable(backbone.name)}, fine-tuned by Loratory",
        chat_template_of(decoder),
    )
    return PreparedGguf(decoder, model, find_prompt_frame(decoder))


def write_gguf_folder(folder: Path, prepared: PreparedGguf, kinds: Sequence[str]) -> list[str]:
    """Fill a folder; returns what to know about it."""
    decoder = prepared.decoder
    tensors: dict[str, Floats] = {
        key: value.detach().float().contiguous().numpy() for key, value in merge_decoder(decoder).state_dict().items()
    }
    notes = []
    for kind in kinds:
        odd = gguf_files.write_file(folder / f"model-{kind}.gguf", kind, prepared.model, tensors)
        notes += [f"{len(odd)} matrices of model-{kind}.gguf are f16: their rows are no whole blocks"] if odd else []
    answers = list_answers(decoder)
    notes += [SCORED_NOTE] if answers else []
    notes += [COMPOSED_NOTE] if prepared.model.vocabulary.composes else []
    notes += _write_prompt(folder, prepared, kinds[-1])
    if answers:
        (folder / GRAMMAR_FILE).write_text(build_grammar(answers), encoding="utf-8")
    if schema := (decoder.task.contract() if answers else decoder.template.build_schema(decoder.task)):
        (folder / SCHEMA_FILE).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_render_card(prepared, kinds, bool(answers)), encoding="utf-8")
    return notes


def build_grammar(answers: Sequence[str]) -> str:
    """GBNF that allows these texts and no others."""
    return "root ::= " + " | ".join(_quote_for_grammar(text) for text in answers) + "\n"


def _quote_for_grammar(text: str) -> str:
    known = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(known.get(c) or (f"\\x{ord(c):02X}" if ord(c) < 32 else c) for c in text) + '"'


def _write_prompt(folder: Path, prepared: PreparedGguf, kind: str) -> list[str]:
    frame = prepared.frame
    if frame is None:
        return [NO_FRAME_NOTE]
    frame.write(folder)
    notes = [] if prepared.decoder.template.truncates else [ONE_TURN_NOTE]
    if '"""' in frame.before + frame.after:
        return [*notes, QUOTES_NOTE]
    (folder / MODEL_FILE).write_text(build_modelfile(prepared, frame, kind), encoding="utf-8")
    return notes


def build_modelfile(prepared: PreparedGguf, frame: PromptFrame, kind: str) -> str:
    """Ollama's Modelfile: the fit's whole prompt as template, and how its answers are written."""
    writing = prepared.decoder.writing
    before, after = (_quote_for_template(text) for text in (frame.before, frame.after))
    values: list[tuple[str, object]] = [
        ("temperature", writing.temperature),
        ("top_p", writing.top_p),
        ("repeat_penalty", writing.repetition_penalty),
        ("seed", writing.seed),
        ("num_ctx", prepared.model.numbers.context),
        *([("num_predict", most)] if (most := prepared.decoder.decoding_plan.max_new_tokens) else []),
        *(("stop", json.dumps(text, ensure_ascii=False)) for text in (frame.stop, *writing.stop)),
    ]
    parameters = "\n".join(f"PARAMETER {name} {value}" for name, value in values)
    return f'FROM ./model-{kind}.gguf\nTEMPLATE """{before}{{{{ .Prompt }}}}{after}"""\n{parameters}\n'


def _quote_for_template(text: str) -> str:
    """Go's templates read {{ as a beginning."""
    return text.replace("{{", '{{"{{"}}')


def _render_card(prepared: PreparedGguf, kinds: Sequence[str], has_grammar: bool) -> str:
    from huggingface_hub import ModelCardData

    network = prepared.decoder.network
    origin, licence = origin_of(network.backbone.name)
    data = ModelCardData(
        base_model=origin, license=licence, library_name="gguf", pipeline_tag="text-generation", tags=["loratory"]
    )
    frame = prepared.frame
    return CARD.format(
        data=data.to_yaml(),
        title=f"{prepared.model.name} as GGUF",
        merged=" with its LoRA adapter merged in" if network.adapter else "",
        files=" ".join(f"`model-{kind}.gguf`: {kind}." for kind in kinds),
        prompt=PROMPT_FILE,
        stop=frame.stop if frame else "the end token",
        file=f"model-{kinds[-1]}.gguf",
        context=prepared.model.numbers.context,
        grammar_use=', "grammar": "..."' if has_grammar else "",
        ollama=f"ollama create {prepared.model.name} -f {MODEL_FILE}\n" if frame else "",
        grammar=GRAMMAR_TEXT.format(grammar=GRAMMAR_FILE, schema=SCHEMA_FILE) if has_grammar else "",
    )
