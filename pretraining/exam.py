"""What a model made here can do: exercises that it has never seen, on passages that were held out.

python pretraining/exam.py --text FILE.txt.gz --model FOLDER [--each 200] [--output exam.json]

An answer counts as right where every one of its tokens, its end among them, is the likeliest: greedy writing would
give it to the letter.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from corpus import Writer, paragraphs, parts
from exercises import KINDS, Message
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

MAX_TOKENS = 384  # tokens: what the model was trained on


@torch.inference_mode()
def likeliest(model: Any, writer: Writer, messages: Sequence[Message]) -> list[bool]:
    """Whether each token of the last answer is the likeliest behind what stands before it."""
    ids, _ = writer.talk(messages)
    tail = len(writer.tokenizer.encode("\n").ids)
    answered = len(writer.tokenizer.encode(messages[-1]["content"]).ids) + 1
    stop = len(ids) - tail
    logits = model(input_ids=torch.tensor([ids[: stop - 1]])).logits[0]
    said = logits[-answered:].argmax(-1).tolist()
    return [one == wanted for one, wanted in zip(said, ids[stop - answered : stop], strict=True)]


def mark_answers(
    make: Callable[[random.Random, str], list[Message]], model: Any, writer: Writer, passages: Sequence[str], each: int
) -> dict[str, float]:
    """Share of answers, and of tokens, that are right."""
    chance = random.Random(f"exam {make.__name__}")
    found: list[list[bool]] = []
    while len(found) < each:
        messages = make(chance, chance.choice(passages))
        if len(writer.talk(messages)[0]) <= MAX_TOKENS:
            found.append(likeliest(model, writer, messages))
    tokens = [right for one in found for right in one]
    return {"answers": sum(map(all, found)) / len(found), "tokens": sum(tokens) / len(tokens)}


def main() -> None:
    """Print a line for each kind of exercise, and write them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--each", type=int, default=200, help="exercises of each kind")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    _, held = parts(paragraphs(options.text))
    writer = Writer.of(Tokenizer.from_file(str(options.model / "tokenizer.json")))
    model: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    model.eval()
    found = {}
    for make, _ in KINDS:
        found[make.__name__] = mark_answers(make, model, writer, held, options.each)
        print(make.__name__, found[make.__name__], flush=True)
    if options.output:
        facts = {"each": options.each, "right": found}
        options.output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
