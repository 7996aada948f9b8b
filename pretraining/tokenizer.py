"""The model's byte-level BPE: digits one by one, pieces of JSON and chat among its merges."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from exercises import exercise
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 4096
TEXT, TALKS = 20_000, 40_000  # passages and exercises that merges are counted on
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(passages: Sequence[str], seed: int = 1) -> Tokenizer:
    """A tokenizer from the training passages and exercises."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        _sample(passages, random.Random(seed)),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def _sample(passages: Sequence[str], chance: random.Random) -> Iterator[str]:
    yield from chance.sample(list(passages), min(TEXT, len(passages)))
    for _ in range(TALKS):
        for message in exercise(chance, chance.choice(passages)):
            yield message["role"] + "\n"
            yield message["content"]


def write(tokenizer: Tokenizer, folder: Path, places: int) -> None:
    """tokenizer.json and its configuration, as transformers reads them; the model has so many places for tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": places,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
