r"""Write prompts.jsonl from the authored families, byte for byte the same on every run.

A family is one way of asking or attacking, with two or three templates, a line each, in a small language: `{one|two|}`
takes one of the alternatives (they nest), `{slot}` takes a value from wording.yaml (`{day}` and `{day2}` differ, two
`{day}` agree), `{b64:slot}` writes the value in another way (see CODES), `\n` is a new line and `\{` a brace.
Openings, closings, typing habits and mistakes are the same for both labels. Run it as
`python tools/recipes/prompt_guard/make_data.py`.
"""

from __future__ import annotations

import codecs
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parent
RECIPE_FOLDER = FOLDER.parents[2] / "src" / "loratory" / "bundled_recipes" / FOLDER.name  # where the data is written
SEED = 20263
MAX_VARIANTS = 19  # of a family at most
MAX_TRIES = 40
SAME_WORDS_LIMIT = 0.8
LABELS = ("benign", "jailbreak")
FRAMED_SOURCES = frozenset({"chat"})  # sources that get greetings and typing habits
CHOICE = re.compile(r"\{([^{}]*\|[^{}]*)\}")
SLOT = re.compile(r"\{((?:[a-z0-9]+:)?[a-z]+\d?)\}")
HELD_SLOT = re.compile(r"\x04(?:([a-z0-9]+):)?([a-z]+)(\d?)\x05")  # a slot while alternatives are chosen
BRACE_ESCAPES = {"\\{": "\x01", "\\}": "\x02", "\\\\": "\x03"}
LEETSPEAK = str.maketrans("aeiostz", "4310572")
WORDS = "apple boat cloud dune elm fig gate hill ink jar kite lamp moon nest oak pear quill rain sun tree urn vase well"
INITIALS = {word[0]: word for word in f"{WORDS} xylophone yarn zebra".split()}


def _take_half(text: str, last: bool) -> str:
    words = text.split()
    middle = len(words) // 2
    return " ".join(words[middle:] if last else words[:middle])


ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "b64": lambda text: b64encode(text.encode()).decode(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "hex": lambda text: text.encode().hex(),
    "leet": lambda text: text.lower().translate(LEETSPEAK),
    "rev": lambda text: text[::-1],
    "spaced": lambda text: " / ".join(" ".join(word) for word in text.split()),
    "initials": lambda text: ", ".join(INITIALS[letter] for letter in text.lower() if letter in INITIALS),
    "half1": lambda text: _take_half(text, last=False),
    "half2": lambda text: _take_half(text, last=True),
}


@dataclass(frozen=True)
class Family:
    """One authored family."""

    name: str
    label: str
    source: str
    templates: tuple[str, ...]


@dataclass(frozen=True)
class SlotValues:
    """What both labels share."""

    slots: dict[str, list[str]]
    openings: list[str]
    closings: list[str]


@dataclass(frozen=True)
class Prompt:
    """One rendered prompt."""

    text: str
    family: Family


def read_yaml(path: Path) -> Any:
    """Read one YAML file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def read_families(label: str, folder: Path = FOLDER) -> list[Family]:
    """Read the families of one label."""
    entries = read_yaml(folder / f"families_{label}.yaml")["families"]
    return [
        Family(f"{label}/{entry['id']}", label, entry["source"], tuple(entry["templates"].strip().splitlines()))
        for entry in entries
    ]


def choose_alternatives(template: str, random: Random) -> str:
    """Replace each `{one|two}` by one of its alternatives, the inner ones first."""
    template = SLOT.sub("\x04\\1\x05", template)
    while True:
        chosen = CHOICE.sub(lambda match: random.choice(match.group(1).split("|")), template)
        if chosen == template:
            return chosen
        template = chosen


def fill_slots(text: str, wording: SlotValues, random: Random) -> str:
    """Replace each `{slot}`; one that begins a sentence gets a capital letter."""
    values: dict[str, str] = {}

    def value_of(name: str, number: str) -> str:
        key = name + number
        if key not in values:
            taken = {value for other, value in values.items() if other.rstrip("0123456789") == name}
            value = random.choice([value for value in wording.slots[name] if value not in taken])
            values[key] = fill_slots(choose_alternatives(value, random), wording, random)
        return values[key]

    pieces: list[str] = []
    position = 0
    for match in HELD_SLOT.finditer(text):
        pieces.append(text[position : match.start()])
        code, name, number = match.groups()
        value = value_of(name, number)
        if code is not None:
            value = ENCODINGS[code](value)
        elif re.search(r"(^|[.!?>]\s+|\n)$", "".join(pieces)):
            value = value[:1].upper() + value[1:]
        pieces.append(value)
        position = match.end()
    return "".join(pieces) + text[position:]


def tidy_punctuation(text: str) -> str:
    """Mend the gaps and doubled stops that alternatives and slots leave."""
    text = re.sub(r"(?<=\S)  +(?=\S)", " ", text).strip()
    text = re.sub(r"(?<=\w) ([,.!?;])(?=\s|$)", r"\1", text)
    return re.sub(r"(?<!\.)([.!?])\.(?=\s|$|\")", r"\1", text)


def add_frame(text: str, wording: SlotValues, random: Random) -> str:
    """Put an opening before the prompt and a closing behind it, each with its own chance."""
    if random.random() < 0.22 and not re.match(r"(Hi|Hello|Hey|Sorry|Oops|Dear)\b", text):
        opening = random.choice(wording.openings)
        goes_on = opening[-1] not in ".!" and re.match(r"(?!I\b)[A-Z][a-z]*\b", text)
        text = f"{opening} {text[0].lower() + text[1:] if goes_on else text}"
    if random.random() < 0.15 and text[-1] in ".!?":
        text = f"{text} {random.choice(wording.closings)}"
    return text


def add_typos(text: str, random: Random) -> str:
    """One to three typing mistakes in words of small letters: two letters swapped, one lost or one doubled."""
    places = [match.span() for match in re.finditer(r"(?<![\w'])[a-z]{4,12}(?![\w'])", text)]
    for start, end in sorted(random.sample(places, min(len(places), random.choice([1, 1, 2, 3]))), reverse=True):
        place = random.randrange(start + 1, end - 1)
        one, two = text[place], text[place + 1]
        text = text[:place] + random.choice([two + one, two, one + one + two]) + text[place + 2 :]
    return text


def apply_habit(text: str, random: Random) -> str:
    """One typing habit: as it is, in small letters, or in capitals."""
    draw = random.random()
    if draw < 0.16:
        return text.lower().rstrip(". ").replace("n't", "nt")
    return text.upper() if draw > 0.98 and len(text) < 200 else text


def render_prompt(family: Family, variant: int, attempt: int, wording: SlotValues) -> Prompt:
    """Render one variant of a family."""
    random = Random(f"{SEED}/{family.name}/{variant}/{attempt}")
    template = family.templates[(variant + attempt // 10) % len(family.templates)]
    for written, held in BRACE_ESCAPES.items():
        template = template.replace(written, held)
    text = tidy_punctuation(fill_slots(choose_alternatives(template.replace("\\n", "\n"), random), wording, random))
    if family.source in FRAMED_SOURCES:
        text = add_frame(text, wording, random)
        if not any(":" in slot for slot in SLOT.findall(template)):
            text = apply_habit(text, random)
            text = add_typos(text, random) if random.random() < 0.2 else text
    for written, held in BRACE_ESCAPES.items():
        text = text.replace(held, written[1])
    return Prompt(text, family)


def words_of(text: str) -> frozenset[str]:
    """The words of a prompt without case."""
    return frozenset(re.findall(r"\w+", text.lower()))


def is_near_copy(text: str, others: list[Prompt]) -> bool:
    """Tell whether a prompt shares most of its words with one of the others."""
    words = words_of(text)
    for other in others:
        theirs = words_of(other.text)
        if len(words & theirs) > SAME_WORDS_LIMIT * len(words | theirs):
            return True
    return False


def render_variants(family: Family, wording: SlotValues) -> Iterator[Prompt]:
    """Variants of a family that are no near copies of each other, until it is exhausted."""
    written: list[Prompt] = []
    for variant in range(MAX_VARIANTS):
        for attempt in range(MAX_TRIES):
            prompt = render_prompt(family, variant, attempt, wording)
            if not is_near_copy(prompt.text, written):
                written.append(prompt)
                yield prompt
                break


def make_prompts(folder: Path = FOLDER) -> list[Prompt]:
    """Render all prompts in their fixed shuffled order; a text that came before is left out."""
    template = SlotValues(**read_yaml(folder / "wording.yaml"))
    found: dict[str, Prompt] = {}
    for label in LABELS:
        for family in read_families(label, folder):
            for prompt in render_variants(family, template):
                found.setdefault(prompt.text.lower(), prompt)
    prompts = list(found.values())
    Random(SEED).shuffle(prompts)
    return prompts


def to_json_line(prompt: Prompt) -> str:
    """Write one prompt as one JSON line."""
    family = prompt.family
    record = {"text": prompt.text, "label": family.label, "family": family.name, "source": family.source}
    return json.dumps(record, ensure_ascii=False) + "\n"


def main() -> None:
    """Write prompts.jsonl of the recipe."""
    lines = [to_json_line(prompt) for prompt in make_prompts()]
    (RECIPE_FOLDER / "prompts.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
