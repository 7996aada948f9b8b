"""Instruction examples that cost nothing: small jobs whose right answer is computed.

They teach what a contract asks of a model: to copy from its prompt, to fill the fields of a schema, to choose one of
the labels it is given, to change a text under a constraint, to add up, and to say no. `exercise(chance, passage)` makes
one conversation; the same generator state and passage give the same one. No benchmark's text or label is in here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from words import (
    CITIES,
    COLOURS,
    CROSS,
    DAYS,
    FIRST,
    GLAD,
    HARMS,
    LAST,
    MESSAGES,
    MONTHS,
    OPINIONS,
    REFUSALS,
    TOPICS,
)

Message = dict[str, str]
SYSTEMS = ("You are a careful assistant.", "Answer briefly.", "Do exactly what is asked.", "You answer with one line.")
NONSENSE = (
    "b c d f g k l m n p r s t v z br st tr pl".split(),
    "a e i o u ai ou".split(),
    "n r s t l m k x nd".split(),
)


def exercise(chance: random.Random, passage: str) -> list[Message]:
    """One conversation; `passage` is running text that some exercises work on."""
    make = chance.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    return make(chance, passage)


def _talk(chance: random.Random, user: str, answer: str, system: str | None = None) -> list[Message]:
    if system is None and chance.random() < 0.4:
        system = chance.choice(SYSTEMS)
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": user}, {"role": "assistant", "content": answer}]


def dump_json(value: Any) -> str:
    """JSON as constrained decoding writes it: no spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sentence(chance: random.Random, passage: str, most: int = 14) -> str:
    words = passage.split()
    start = chance.randrange(max(len(words) - most, 1))
    return " ".join(words[start : start + chance.randint(3, most)])


def _word(chance: random.Random) -> str:
    start, middle, end = NONSENSE
    made = "".join(chance.choice(start) + chance.choice(middle) for _ in range(chance.randint(1, 3)))
    return made + (chance.choice(end) if chance.random() < 0.6 else "")


def _code(chance: random.Random) -> str:
    letters = "".join(chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=chance.randint(1, 3)))
    return f"{letters}{chance.choice(['-', '', ' '])}{chance.randint(10, 99999)}"


def _name(chance: random.Random) -> str:
    return f"{chance.choice(FIRST)} {chance.choice(LAST)}"


def _fill_form(chance: random.Random, form: str, words: list[str]) -> str:
    w, v = chance.sample(words, 2)
    return form.format(w=w, v=v, n=chance.choice(FIRST), c=chance.choice(CITIES), d=chance.choice(DAYS))


# --- copying


def copying(chance: random.Random, passage: str) -> list[Message]:
    """The text, or a part of it that is named."""
    many = chance.choice([chance.randint(1, 6), chance.randint(6, 24)])
    text = chance.choice([_sentence(chance, passage), " ".join(_word(chance) for _ in range(many)), _code(chance)])
    words = text.split()
    number = chance.randrange(len(words))
    asked, answer = chance.choice(
        [
            (
                chance.choice(
                    ["Repeat exactly: {}", "Copy this text.\n{}", "Say after me: {}", "{}\n\nWrite that again."]
                ),
                text,
            ),
            ("What is the first word? {}", words[0]),
            ("What is the last word? {}", words[-1]),
            (f"What is word number {number + 1}? {{}}", words[number]),
            ("Put this in quotation marks: {}", f'"{text}"'),
            ("Answer with JSON, the text in a field called text: {}", dump_json({"text": text})),
        ]
    )
    return _talk(chance, asked.replace("{}", text), answer)


# --- reading fields


FIELDS: dict[str, Callable[[random.Random], Any]] = {
    "name": _name,
    "customer": _name,
    "city": lambda c: c.choice(CITIES),
    "code": _code,
    "order": lambda c: c.randint(100, 99999),
    "amount": lambda c: c.choice([c.randint(1, 5000), round(c.uniform(1, 900), 2)]),
    "colour": lambda c: c.choice(COLOURS),
    "day": lambda c: c.choice(DAYS),
    "month": lambda c: c.choice(MONTHS),
    "date": lambda c: f"{c.randint(2001, 2030)}-{c.randint(1, 12):02d}-{c.randint(1, 28):02d}",
    "year": lambda c: c.randint(1900, 2030),
    "item": lambda c: c.choice(TOPICS[c.choice(sorted(TOPICS))]),
    "count": lambda c: c.randint(1, 40),
    "paid": lambda c: c.random() < 0.5,
    "email": lambda c: f"{c.choice(FIRST).lower()}.{c.choice(LAST).lower()}@{_word(c)}.example",
    "phone": lambda c: f"0{c.randint(100, 999)} {c.randint(100000, 999999)}",
}


def _record(chance: random.Random) -> dict[str, Any]:
    names = chance.sample(sorted(FIELDS), chance.randint(2, 6))
    made = {name: FIELDS[name](chance) for name in names}
    if chance.random() < 0.3:
        made[_word(chance)] = chance.choice([_word(chance), chance.randint(0, 99), _code(chance)])
    items = list(made.items())
    chance.shuffle(items)
    return dict(items)


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _tell_record(chance: random.Random, record: dict[str, Any]) -> str:
    form = chance.choice(["{k}: {v}", "{k} = {v}", "the {k} is {v}", "{k} is {v}", "- {k}: {v}"])
    parts = [form.format(k=key, v=_plain(value)) for key, value in record.items()]
    return chance.choice(["\n", "\n", "; ", ", "]).join(parts)


def reading(chance: random.Random, passage: str) -> list[Message]:
    """One field's value out of a list of fields."""
    record = _record(chance)
    key = chance.choice(list(record))
    asked = chance.choice(["What is the {}?", "Which {} is given?", "{}?", "Give me the {} only.", "Find the {}."])
    text = _tell_record(chance, record) if chance.random() < 0.7 else dump_json(record)
    return _talk(chance, f"{text}\n\n{asked.format(key)}", _plain(record[key]))


STORIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "{name} from {city} bought {count} pieces on {date} for {amount} euros.",
        ("name", "city", "count", "date", "amount"),
    ),
    ("Order {order} for {customer} will be sent to {city} on {day}.", ("order", "customer", "city", "day")),
    ("On {date} {name} paid {amount} for a {colour} {item}.", ("date", "name", "amount", "colour", "item")),
    ("Please call {name} at {phone} about the {item} in {month} {year}.", ("name", "phone", "item", "month", "year")),
    (
        "{customer} ({email}) asks for {count} of the {colour} ones, reference {code}.",
        ("customer", "email", "count", "colour", "code"),
    ),
    ("Reference {code}: the {item} was returned in {city} by {name}.", ("code", "item", "city", "name")),
    ("In {month} {year} the {item} cost {amount}.", ("month", "year", "item", "amount")),
    ("Write to {email} before {day}, order {order}, amount {amount}.", ("email", "day", "order", "amount")),
)


def _kind(value: Any) -> str:
    return {bool: "boolean", int: "integer", float: "number"}.get(type(value), "string")


def extracting(chance: random.Random, passage: str) -> list[Message]:
    """A JSON object of the fields that are asked for, from a list or a told story."""
    if chance.random() < 0.5:
        record = _record(chance)
        text = _tell_record(chance, record)
    else:
        form, names = chance.choice(STORIES)
        record = {name: FIELDS[name](chance) for name in names}
        text = form.format(**record)
        if chance.random() < 0.4:
            text = chance.choice([f"{_sentence(chance, passage)}. {text}", f"{text} {_sentence(chance, passage)}."])
    wanted = chance.sample(list(record), chance.randint(1, len(record)))
    answer = {name: record[name] for name in wanted}
    if chance.random() < 0.15:
        absent = chance.choice(sorted(set(FIELDS) - set(record)))
        wanted, answer = [*wanted, absent], answer | {absent: None}
    style = chance.randrange(3)
    if style == 0:
        ask = f"Answer with JSON with these fields: {', '.join(wanted)}."
    elif style == 1:
        fields = {name: {"type": _kind(answer[name])} for name in wanted}
        ask = f"Fill this schema: {dump_json({'type': 'object', 'properties': fields, 'required': wanted})}"
    else:
        ask = f"Extract {', '.join(wanted)} as JSON."
    if chance.random() < 0.5:
        return _talk(chance, text, dump_json(answer), system=ask)
    return _talk(chance, f"{ask}\n\n{text}" if chance.random() < 0.5 else f"{text}\n\n{ask}", dump_json(answer))


# --- choosing a label


def _vary_case(chance: random.Random, names: list[str]) -> list[str]:
    style = chance.choice([str.upper, str.lower, str.title])
    join = chance.choice(["_", " ", "-"])
    return [style(name).replace(" ", join) for name in names]


def choosing(chance: random.Random, passage: str) -> list[Message]:
    """One of the labels that the prompt lists, each explained by its name, by words, or not at all."""
    topics = chance.sample(sorted(TOPICS), chance.randint(2, 6))
    explained = chance.random() < 0.5
    if explained and chance.random() < 0.6:  # the name says nothing: the explanation has to be read
        labels = _vary_case(
            chance, [_word(chance) + (f" {_word(chance)}" if chance.random() < 0.3 else "") for _ in topics]
        )
        if len(set(labels)) < len(labels):
            labels = [f"{label}{i}" for i, label in enumerate(labels)]
    else:
        labels = _vary_case(chance, [topic + chance.choice(["", " question", " message"]) for topic in topics])
    if explained:
        about = chance.choice(["about", "talks about", "words like"])
        lines = [
            f"{label}: {about} {_explain_topic(chance, topic)}" for label, topic in zip(labels, topics, strict=True)
        ]
        ask = "\n".join([chance.choice(["Labels:", "Choose one label:", "Label the message."]), *lines])
    else:
        listed, either = ", ".join(labels), " or ".join(labels)
        ask = chance.choice([f"Choose one of: {listed}.", f"Label the message as {either}.", f"Labels: {listed}"])
    turns = [chance.randrange(len(topics)) for _ in range(_turns(chance))]
    return _answer_question(chance, ask, [(_message(chance, topics[right]), labels[right]) for right in turns])


def _turns(chance: random.Random) -> int:
    """Mostly one question; else the earlier ones are examples for the last."""
    return 1 if chance.random() < 0.65 else chance.randint(2, 5)


def _message(chance: random.Random, topic: str) -> str:
    forms = chance.sample(MESSAGES, chance.randint(1, 2))
    return " ".join(_fill_form(chance, form, TOPICS[topic]) for form in forms)


def _explain_topic(chance: random.Random, topic: str) -> str:
    return f"{topic} ({', '.join(chance.sample(TOPICS[topic], 4))})" if chance.random() < 0.5 else topic


def _answer_question(chance: random.Random, ask: str, turns: list[tuple[str, str]]) -> list[Message]:
    if chance.random() < 0.7:
        key = chance.choices(["label", "category", "topic", "answer"], [7, 1, 1, 1])[0]
        ask = f'{ask}\nAnswer with JSON: {{"{key}": ...}}'
        turns = [(text, dump_json({key: label})) for text, label in turns]
    (text, answer), *rest = turns
    if rest or chance.random() < 0.6:
        first = _talk(chance, text, answer, system=ask)
    else:
        first = _talk(chance, f"{ask}\n\n{chance.choice(['Message: ', 'Text: ', ''])}{text}", answer)
    return [*first, *(message for text, answer in rest for message in _talk(chance, text, answer, system="")[-2:])]


def judging(chance: random.Random, passage: str) -> list[Message]:
    """Whether an opinion is a good one."""
    kinds = [["positive", "negative"], ["good", "bad"], ["praise", "complaint"], ["happy", "unhappy"]]
    labels = _vary_case(chance, chance.choice(kinds))
    shown = list(labels)
    chance.shuffle(shown)
    ask = chance.choice([f"Is this {shown[0]} or {shown[1]}?", f"Choose one of: {', '.join(shown)}."])
    turns = [chance.random() < 0.5 for _ in range(_turns(chance))]
    return _answer_question(chance, ask, [(_opinion(chance, good), labels[0 if good else 1]) for good in turns])


def _opinion(chance: random.Random, good: bool) -> str:
    words = TOPICS[chance.choice(sorted(TOPICS))]
    a, b = chance.sample(GLAD if good else CROSS, 2)
    names = {"n": chance.choice(FIRST), "c": chance.choice(CITIES)}
    return chance.choice(OPINIONS).format(w=chance.choice(words), a=a, b=b, **names)


# --- changing a text


def rewriting(chance: random.Random, passage: str) -> list[Message]:
    """A change that a rule describes."""
    text = _sentence(chance, passage, 10)
    words = text.split()
    few = chance.randint(1, len(words))
    old, new = chance.choice(words), _word(chance)
    things = chance.sample(TOPICS[chance.choice(sorted(TOPICS))], chance.randint(2, 5))
    listed = ", ".join(things)
    asked, answer = chance.choice(
        [
            (f"Write this in capital letters: {text}", text.upper()),
            (f"Write this in small letters: {text.upper()}", text.lower()),
            (f"Give the first {few} words of: {text}", " ".join(words[:few])),
            (f"Replace {old} by {new}: {text}", " ".join(new if word == old else word for word in words)),
            (f"Turn the words round: {' '.join(words[:6])}", " ".join(reversed(words[:6]))),
            (f"Make a numbered list: {listed}", "\n".join(f"{i}. {thing}" for i, thing in enumerate(things, 1))),
            (f"Make a list with dashes: {listed}", "\n".join(f"- {thing}" for thing in things)),
            (f"Make hashtags: {listed}", " ".join(f"#{thing}" for thing in things)),
            (f"Put in alphabetical order: {listed}", ", ".join(sorted(things))),
            (f"As a JSON array: {listed}", dump_json(things)),
            (f"Add the word {new} at the end: {text}", f"{text} {new}"),
        ]
    )
    return _talk(chance, asked, answer)


# --- numbers


def reckoning(chance: random.Random, passage: str) -> list[Message]:
    """Sums, with their steps where there are some."""
    a, b = chance.randint(0, 99), chance.randint(0, 99)
    more, less, few = max(a, b), min(a, b), chance.randint(1, 12)
    both, spent = a + b, chance.randint(0, a + b)
    boxes = chance.randint(2, 9)
    things = chance.sample(TOPICS[chance.choice(sorted(TOPICS))], chance.randint(1, 6))
    asked, steps, result = chance.choice(
        [
            (f"What is {a} + {b}?", "", both),
            (f"What is {more} - {less}?", "", more - less),
            (f"What is {few} x {boxes}?", "", few * boxes),
            (f"Which is larger, {a} or {b}?", "", more),
            (f"How many words are there? {', '.join(things)}", "", len(things)),
            (
                f"{chance.choice(FIRST)} has {a} coins, gets {b} and spends {spent}. How many are left?",
                f"{a} + {b} = {both}. {both} - {spent} = {both - spent}. The answer is ",
                both - spent,
            ),
            (
                f"A box holds {few} lamps. How many are in {boxes} boxes and a heap of {a}?",
                f"{few} x {boxes} = {few * boxes}. {few * boxes} + {a} = {few * boxes + a}. The answer is ",
                few * boxes + a,
            ),
        ]
    )
    if chance.random() < 0.3:
        return _talk(chance, f'{asked} Answer with JSON: {{"answer": ...}}', dump_json({"answer": result}))
    return _talk(chance, asked, f"{steps}{result}{'.' if steps else ''}")


# --- saying no


def refusing(chance: random.Random, passage: str) -> list[Message]:
    """What it will not do."""
    asked = chance.choice(["Please {}.", "{}", "Could you {}?", "I want you to {}."]).format(chance.choice(HARMS))
    asked = asked.format(n=_name(chance), w=chance.choice(TOPICS["animal"]), d=chance.choice(DAYS))
    return _talk(chance, asked, chance.choice(REFUSALS))


KINDS: tuple[tuple[Callable[[random.Random, str], list[Message]], float], ...] = (
    (copying, 3.0),
    (reading, 1.5),
    (extracting, 3.0),
    (choosing, 4.0),
    (judging, 1.0),
    (rewriting, 1.5),
    (reckoning, 1.0),
    (refusing, 0.3),
)
