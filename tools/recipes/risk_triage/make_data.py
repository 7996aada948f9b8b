"""Write messages.jsonl from the authored families, byte for byte the same on every run.

A family is one way or situation of saying something. It has one to four templates in a small language:
`{slot}` takes a value from wording.yaml (`{amount}` and `{amount2}` differ, two `{amount}` agree), and
`[one|two|]` takes one of the alternatives. Register `bare` means short and nearly unframed, `formal` means
no chat habits. Run it as `python tools/recipes/risk_triage/make_data.py`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parent
RECIPE_FOLDER = FOLDER.parents[2] / "src" / "loratory" / "bundled_recipes" / FOLDER.name  # where the data is written
SEED = 20260
INSTRUCTION = (
    "Triage this customer message as FRAUD, MERCHANT_ERROR, PASSWORD_RESET or INFO "
    'and answer with one JSON object only, in the form {"label": "..."}.'
)
MESSAGES_PER_LABEL = {"fraud": 1110, "merchant_error": 860, "password_reset": 710, "info": 860}
MAX_PER_FAMILY = {"easy": 9, "medium": 9, "hard": 5}
TRIES_PER_MESSAGE = 40
SAME_WORDS_LIMIT = 0.8
LETTER_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
GREETING = re.compile(
    r"(dear|hello|hi|hey|good (day|morning|evening|afternoon)|sirs?|first of all|omg)\b", re.IGNORECASE
)
PLAIN_START = re.compile(
    r"(A|An|And|Are|At|By|Can|Could|Did|Do|Does|For|From|How|If|In|Is|It|My|No|Not|On|Please|Since|Some|Someone|"
    r"Somebody|That|The|There|They|This|To|We|What|When|Where|Which|Who|Why|Will|You|Your)\b"
)
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([a-z_]+?)([0-9]?)\}")


@dataclass(frozen=True)
class Family:
    """One authored family."""

    name: str
    label: str
    difficulty: str
    register: str
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Message:
    """One rendered message."""

    text: str
    family: Family


@dataclass(frozen=True)
class SlotValues:
    """What all families share."""

    money_forms: list[str]
    money_slots: dict[str, list[str]]
    slots: dict[str, list[str]]
    openings: list[str]
    closings: list[str]
    lead_remarks: list[str]
    tail_remarks: list[str]
    short_forms: dict[str, str]
    misspellings: dict[str, str]


def read_yaml(path: Path) -> Any:
    """Read one YAML file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def read_families(path: Path) -> list[Family]:
    """Read the families of one label."""
    content = read_yaml(path)
    return [
        Family(
            name=entry["id"],
            label=content["label"],
            difficulty=entry["difficulty"],
            register=entry.get("register", "any"),
            templates=tuple(entry["templates"]),
        )
        for entry in content["families"]
    ]


def choose_alternatives(template: str, random: Random) -> str:
    """Replace each `[one|two]` by one of its alternatives."""
    return CHOICE.sub(lambda match: random.choice(match.group(1).split("|")), template)


def fill_slots(text: str, wording: SlotValues, random: Random) -> str:
    """Replace each `{slot}`; a slot that begins a sentence gets a capital letter."""
    money_form = random.choice(wording.money_forms)
    values: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()

    def value_of(name: str, key: str) -> str:
        if key not in values:
            pool = wording.money_slots.get(name) or wording.slots[name]
            values[key] = random.choice([value for value in pool if (name, value) not in taken])
            taken.add((name, values[key]))
        return money_form.format(values[key]) if name in wording.money_slots else values[key]

    pieces: list[str] = []
    position = 0
    for match in SLOT.finditer(text):
        pieces.append(text[position : match.start()])
        value = value_of(match.group(1), match.group(0))
        before = "".join(pieces).rstrip()
        starts_sentence = not before or before[-1] in ".!?"
        pieces.append(value[:1].upper() + value[1:] if starts_sentence else value)
        position = match.end()
    return "".join(pieces) + text[position:]


def tidy_punctuation(text: str) -> str:
    """Mend the gaps that empty alternatives leave."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" ([.,!?;])(?=\s|$)", r"\1", text)
    return re.sub(r"([,;]) ?(?=[.!?](\s|$))", "", text)


def join_opening(opening: str, core: str, random: Random) -> str:
    """Put an opening before the core; after a comma most people go on in lower case."""
    goes_on = opening[-1] == "," or opening[-1].isalpha()
    if goes_on and PLAIN_START.match(core) and random.random() < 0.7:
        core = core[0].lower() + core[1:]
    return f"{opening} {core}"


def add_frame(core: str, family: Family, wording: SlotValues, random: Random) -> str:
    """Put an opening, a closing and side remarks around the core, each with its own chance."""
    bare = family.register == "bare"
    tail: list[str] = []
    if random.random() < (0.03 if bare else 0.12):
        tail.append(random.choice(wording.tail_remarks))
    if random.random() < (0.15 if bare else 0.42):
        tail.append(random.choice(wording.closings))
    if tail and core[-1].isalnum():
        core += random.choice([".", ".", ""])
    if not GREETING.match(core):
        if random.random() < (0.03 if bare else 0.15):
            core = f"{random.choice(wording.lead_remarks)} {core}"
        if random.random() < (0.12 if bare else 0.42):
            core = join_opening(random.choice(wording.openings), core, random)
    return " ".join([core, *tail]).replace("\n ", "\n")


def shorten_words(text: str, wording: SlotValues) -> str:
    """Write like in a short text message."""
    return re.sub(r"[a-z]+", lambda match: wording.short_forms.get(match.group(0), match.group(0)), text)


def drop_apostrophes(text: str) -> str:
    """Write dont for don't."""
    return re.sub(r"(?<=[a-z])'(?=[a-z])", "", text)


def apply_habit(text: str, family: Family, wording: SlotValues, random: Random) -> str:
    """Apply one typing habit: as it is, careless lower case, short message style or all capitals."""
    draw = random.random()
    if family.register == "formal" or draw < 0.68:
        return text
    if draw < 0.86:
        text = text.lower().rstrip(".")
        return drop_apostrophes(text) if random.random() < 0.6 else text
    if draw < 0.95:
        return drop_apostrophes(shorten_words(text.lower(), wording)).rstrip(".")
    return text.upper()


def mistype(word: str, wording: SlotValues, random: Random) -> str:
    """Make one realistic typing or spelling mistake in a word."""
    known = wording.misspellings.get(word)
    if known is not None and random.random() < 0.7:
        return known
    place = random.randrange(1, len(word) - 1)
    kind = random.randrange(4)
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[:place] + word[place] + word[place:]
    return word[:place] + random.choice(LETTER_NEIGHBOURS.get(word[place], word[place])) + word[place + 1 :]


def add_typos(text: str, random: Random, wording: SlotValues) -> str:
    """Mistype a few lower-case words in about every fourth message."""
    if random.random() > 0.27:
        return text
    places = [match.span() for match in re.finditer(r"(?<![A-Za-z0-9'])[a-z]{4,}(?![A-Za-z0-9'])", text)]
    count = min(len(places), random.choice([1, 1, 1, 2, 2, 3]))
    for start, end in sorted(random.sample(places, count), reverse=True):
        text = text[:start] + mistype(text[start:end], wording, random) + text[end:]
    return text


def render_message(family: Family, variant: int, attempt: int, wording: SlotValues) -> Message:
    """Render one variant of a family."""
    random = Random(f"{SEED}/{family.name}/{variant}/{attempt}")
    template = family.templates[(variant + attempt // 10) % len(family.templates)]
    core = tidy_punctuation(fill_slots(choose_alternatives(template, random), wording, random))
    framed = fill_slots(add_frame(core, family, wording, random), wording, random)
    return Message(add_typos(apply_habit(framed, family, wording, random), random, wording), family)


def words_of(text: str) -> frozenset[str]:
    """Return the words of a message without case."""
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def is_near_copy(text: str, others: list[Message]) -> bool:
    """Tell whether a message shares most of its words with one of the others."""
    words = words_of(text)
    for other in others:
        other_words = words_of(other.text)
        if len(words & other_words) > SAME_WORDS_LIMIT * len(words | other_words):
            return True
    return False


def render_new_message(family: Family, written: list[Message], wording: SlotValues) -> Message | None:
    """Return a further variant that is no near copy of those written, or None if the family is exhausted."""
    for attempt in range(TRIES_PER_MESSAGE):
        message = render_message(family, len(written), attempt, wording)
        if not is_near_copy(message.text, written):
            return message
    return None


def render_label(families: list[Family], target: int, wording: SlotValues) -> Iterator[Message]:
    """Go round the families, one message each, until the label has its number of messages."""
    written: dict[str, list[Message]] = {family.name: [] for family in families}
    texts: set[str] = set()
    for count in range(max(MAX_PER_FAMILY.values())):
        order = [family for family in families if count < MAX_PER_FAMILY[family.difficulty]]
        Random(f"{SEED}/{len(texts)}").shuffle(order)
        for family in order:
            message = render_new_message(family, written[family.name], wording)
            if message is None or message.text.lower() in texts or len(texts) == target:
                continue
            texts.add(message.text.lower())
            written[family.name].append(message)
            yield message


def make_messages(folder: Path = FOLDER) -> list[Message]:
    """Render all messages in their fixed shuffled order."""
    template = SlotValues(**read_yaml(folder / "wording.yaml"))
    messages: list[Message] = []
    for stem, target in MESSAGES_PER_LABEL.items():
        messages.extend(render_label(read_families(folder / f"families_{stem}.yaml"), target, template))
    Random(SEED).shuffle(messages)
    return messages


def to_json_line(message: Message) -> str:
    """Write one message as one JSON line."""
    record = {
        "instruction": INSTRUCTION,
        "input": message.text,
        "output": json.dumps({"label": message.family.label}),
        "family": message.family.name,
        "difficulty": message.family.difficulty,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def main() -> None:
    """Write messages.jsonl of the recipe."""
    lines = [to_json_line(message) for message in make_messages()]
    if len({json.loads(line)["input"].lower() for line in lines}) != len(lines):
        raise ValueError("two messages have the same text")
    (RECIPE_FOLDER / "messages.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
