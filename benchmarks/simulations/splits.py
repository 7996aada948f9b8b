"""Splits: whether near-duplicates stay on one side, are found in a given test file, and only they are joined.

Texts are made: families of one frame with four slots, sentences of made-up words, and small changes of both. What is a
near-duplicate is told by comparing n-grams or by what was changed, never by the product's own search.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product

from loratory.data.dataset import Dataset, Parts
from loratory.data.splitting.groups import group_examples, name_pairs_by_origin
from loratory.data.splitting.overlaps import find_leaks, summarise_leaks
from loratory.data.splitting.splits import split_examples
from loratory.protocols import Example
from loratory.specs.data import SplitSpec
from loratory.tasks.classify import Classify
from simulations.claims import Claim, claim_amount, claim_rate

THRESHOLD = 0.85
PLANTED = 60
TASK = Classify(labels=("a", "b", "c"))
SHARES = SplitSpec(test=0.2, validation=0.1, calibration=0.1, seed=6)
# Kind -> a frame with four slots, how many fillings each slot knows, and of how many words.
FRAMES: Mapping[str, tuple[str, int, int]] = {
    "short, few words": ("please {} the {} from my {} on {}", 12, 1),
    "short, many words": ("can you {} a {} for {} before {} please", 300, 1),
    "middle": (
        "i wanted to ask whether the {} that i ordered from your {} shop last week can still be sent to {} before {}",
        40,
        1,
    ),
    "long": (
        "dear team, thank you for the quick answer of yesterday. i still cannot find the {} in my account, although "
        "your colleague from {} told me that it would be there by now. could somebody look at it again and tell me "
        "by {} what i have to do? the reference that i was given is {} and i have kept all earlier letters.",
        60,
        2,
    ),
    "very long": (
        "this agreement is made between the supplier and the customer named below. the supplier delivers the {} in "
        "the quantity that the order names. risk passes to the customer when the goods leave the {} of the supplier. "
        "the customer inspects the goods without delay and gives notice of what is missing or broken. payment is due "
        "within the term that the invoice names, without deduction, to the account of the {}. the goods stay the "
        "property of the supplier until they are paid. neither party is liable for what it could not foresee. changes "
        "of this agreement are made in writing alone. the courts at {} decide what the parties cannot settle. should "
        "one of these clauses be void, the others stay as they are.",
        80,
        5,
    ),
}
SYLLABLES = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 2_000)]
TWINS = str.maketrans("aceiopxy", "\u0430\u0441\u0435\u0456\u043e\u0440\u0445\u0443")  # Cyrillic for Latin
ACCENTED = str.maketrans("aeiou", "\u00e1\u00e9\u00ee\u00f6\u00fc")
ACTIONS = ("open", "close", "cancel", "activate", "block", "replace", "order", "verify", "freeze", "delete")
REQUESTS = (
    "how do i {} my account",
    "{} my card",
    "i want to {} a card",
    "please {} the transfer now",
    "can i {} it",
    "where can i {} my pin",
    "is it possible to {} a second card",
    "{} the account of my wife",
    "why can't i {} this payment",
)


def claims(scale: float) -> Iterator[Claim]:
    """What the product says of duplicates, in made-up data."""
    yield from _families(scale)
    yield from _given_test_files(scale)
    yield from _changed(scale)
    yield from _different(scale)
    wrong = [exact_copies(seed) != seed % 7 for seed in range(_many(400, scale))]
    yield claim_rate("the count of exact copies is wrong", wrong, 0.0, at_most=True)


def _families(scale: float) -> Iterator[Claim]:
    for kind in FRAMES:
        crossed = pairs = 0
        for size, often in ((100, 6), (300, 3), (1_000, 2), (3_000, 1), (5_000, 1)):
            for seed in range(_many(often, scale)):
                crossed, pairs = crossed + planted(kind, size, seed), pairs + PLANTED
        yield claim_amount(f"planted pairs that the split cuts, family {kind}", crossed, 0, f"of {pairs} pairs", pairs)


def _given_test_files(scale: float) -> Iterator[Claim]:
    for mode in ("join", "report"):
        found = [hit for seed in range(_many(8, scale)) for hit in leaks(seed, mode == "join")]
        yield claim_rate(
            f"leaked rows of a given test file that are told, duplicates: {mode}", found, 0.99, at_most=False
        )
    counts = [told("long", 300, seed) for seed in range(_many(10, scale))]
    found = [place < said for said, truth in counts for place in range(truth)]
    yield claim_rate("rows near one of another part, of one family cut at random: told", found, 0.99, at_most=False)


def _changed(scale: float) -> Iterator[Claim]:
    worlds = _many(8, scale)  # of 50 sentences each
    for name, (make, change) in CHANGES.items():
        found = [hit for seed in range(worlds) for hit in joined(make, change, seed)]
        yield claim_rate(f"{name}: joined", found, PROMISED.get(name, 0.99), at_most=False)


def _different(scale: float) -> Iterator[Claim]:
    wrong = [hit for seed in range(_many(40, scale)) for hit in arithmetic(seed)]
    yield claim_rate("sums, numbers alone and emoji alone that differ: joined", wrong, 0.0, at_most=True)
    yield claim_rate("requests of one frame and different intents: joined", intents(), 0.15, at_most=True)


def planted(kind: str, size: int, seed: int) -> int:
    """Of PLANTED near-duplicates in a family: how many the split cuts."""
    chance = random.Random(f"{kind} {size} {seed}")
    texts = family(kind, size, chance)
    twins = [_near_twin(text, chance) for text in chance.sample(texts, PLANTED)]
    others = [sentence(chance, 9) for _ in range(100)]  # else a family that is one group could not be split
    rows = _rows([*texts, *(one for _, one in twins), *others], chance)
    rows = chance.sample(rows, len(rows))
    groups = group_examples(rows, [str(row.input["text"]) for row in rows], THRESHOLD).groups
    parts = split_examples(Dataset.of(TASK, rows).with_groups(groups), SHARES)
    place = {str(row.input["text"]): name for name, inside in parts.items() for row in inside}
    return sum(place[one] != place[other] for one, other in twins)


def told(kind: str, size: int, seed: int) -> tuple[int, int]:
    """A family cut at random, as `duplicates: report` leaves it: rows of test that are said to be near a row of train.

    Said, and so by comparing each with each. The texts are too long for edits to count.
    """
    chance = random.Random(f"told {kind} {size} {seed}")
    texts = family(kind, size, chance)
    texts += [_near_twin(text, chance)[1] for text in chance.sample(texts, size // 5)]
    texts = chance.sample(list(dict.fromkeys(texts)), len(set(texts)))
    cut = round(0.7 * len(texts))
    held = [grams_of(text, 3) for text in texts]
    truth = sum(any(_jaccard(one, other) >= THRESHOLD for other in held[:cut]) for one in held[cut:])
    return _count_leaks(texts[:cut], texts[cut:], chance, join=False), truth


def leaks(seed: int, join: bool) -> list[bool]:
    """A test file with near-duplicates of train rows, some of one family: whether each leaked row is told of."""
    chance = random.Random(f"leaks {seed}")
    train = [*family("middle", 300, chance), *(sentence(chance, 9) for _ in range(200))]
    leaked = [_near_twin(text, chance)[1] for text in chance.choices(train, k=100)]
    fresh = [sentence(chance, 9) for _ in range(50)]
    many = _count_leaks(train, [*leaked, *fresh], chance, join)
    return [True] * min(many, len(leaked)) + [False] * max(0, len(leaked) - many)


def joined(make: Callable[[random.Random], str], change: Callable[[str, random.Random], str], seed: int) -> list[bool]:
    """Of 50 texts and a changed copy of each: whether both came to one group."""
    chance = random.Random(f"joined {seed}")
    texts = [make(chance) for _ in range(50)]
    return _together(texts, [change(text, chance) for text in texts], chance)


def arithmetic(seed: int) -> list[bool]:
    """Whether texts that differ in numbers or emoji alone came to one group, pair by pair."""
    chance = random.Random(f"arithmetic {seed}")
    sums = [
        (f"{asked} {a} {sign} {b}", f"{asked} {c} {sign} {d}")
        for asked, sign in (("What is", "+"), ("how much is", "minus"), ("compute", "*"), ("", "/"))
        for a, b, c, d in [chance.sample(range(1, 999), 4)]
    ]
    emoji = [("\U0001f600", "\U0001f621"), ("\U0001f44d\U0001f44d", "\U0001f44e\U0001f44e"), (":)", ":("), ("7", "8")]
    one, other = zip(*sums, *emoji, ("room 7", "room 8"), ("what is 3 + 4", "what is 3 - 4"), strict=True)
    return _together(list(one), list(other), chance)


def intents(requests: Sequence[str] = REQUESTS) -> list[bool]:
    """Whether requests that differ in what is to be done came to one group, pair by pair."""
    found = []
    for request in requests:
        for one, other in combinations(ACTIONS, 2):
            found += _together([request.format(one)], [request.format(other)], random.Random(6))
    return found


def exact_copies(seed: int) -> int:
    """How many exact copies are counted, where seed % 7 of case and white space stand beside other near-duplicates."""
    chance = random.Random(f"copies {seed}")
    texts = [sentence(chance, 8) for _ in range(12)]
    copies = [f"  {text.upper()} ".replace(" ", "  ") for text in texts[: seed % 7]]
    others = [texts[7] + "!", texts[8].replace(" ", ", ", 1), "call 5 now", "call 6 now", "\U0001f600", "\U0001f621"]
    examples = _rows([*texts, *others, *copies], chance)
    return len(group_examples(examples, [str(one.input["text"]) for one in examples], THRESHOLD).exact)


def family(kind: str, size: int, chance: random.Random) -> list[str]:
    """`size` different texts of one frame."""
    frame, fillings, words = FRAMES[kind]
    slots = [[sentence(chance, words) for _ in range(fillings)] for _ in range(4)]
    made: dict[str, None] = {}
    while len(made) < size:
        made[frame.format(*(chance.choice(slot) for slot in slots))] = None
    return list(made)


def word(chance: random.Random) -> str:
    """A made-up word of one to three syllables."""
    return "".join(chance.choices(SYLLABLES, k=chance.choice((1, 2, 2, 3)))) + chance.choice(("", "n", "s", "r"))


def sentence(chance: random.Random, words: int) -> str:
    """Made-up words."""
    return " ".join(word(chance) for _ in range(words))


def change_short_word(text: str, chance: random.Random) -> str:
    """One word is another one, no longer than 15 % of the text."""
    return change_word(text, chance, 0.15 * len(text))


def change_word(text: str, chance: random.Random, most: float = 100) -> str:
    """One word of at most so many characters is another one."""
    words = text.split()
    at = chance.choice([i for i, one in enumerate(words) if len(one) <= most] or range(len(words)))
    words[at] = "".join(chance.choices("bcdfghjklmnpqrstvwxyz", k=len(words[at])))
    return " ".join(words)


def change_letter(text: str, chance: random.Random) -> str:
    """One character is another one."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([one for one in HAN if one != text[at]]) + text[at + 1 :]


def hide(text: str, chance: random.Random) -> str:
    """Characters without width between some letters."""
    return "".join(letter + ("\u200b" if chance.random() < 0.3 else "") for letter in text) + "\ufeff"


def swap(text: str, chance: random.Random) -> str:
    """Every other word in Cyrillic look-alikes."""
    return " ".join(one.translate(TWINS) if at % 2 else one for at, one in enumerate(text.split()))


def accent(text: str, chance: random.Random) -> str:
    """Every vowel with an accent."""
    return text.translate(ACCENTED)


def decompose(text: str, chance: random.Random) -> str:
    """A combining accent behind every vowel."""
    return "".join(letter + ("\u0301" if letter in "aeiou" else "") for letter in text)


CHANGES: Mapping[str, tuple[Callable[[random.Random], str], Callable[[str, random.Random], str]]] = {
    "characters without width": (lambda chance: sentence(chance, 5), hide),
    "look-alike letters": (lambda chance: sentence(chance, 5), swap),
    "accents": (lambda chance: sentence(chance, 5), accent),
    "accents, decomposed": (lambda chance: sentence(chance, 5), decompose),
    "one character of 20 in Chinese": (lambda chance: "".join(chance.sample(HAN, 20)), change_letter),
    "one word of 6 to 12, up to 15 % of the characters": (
        lambda chance: sentence(chance, chance.randint(6, 12)),
        change_short_word,
    ),
    "one word of 6 or 7": (lambda chance: sentence(chance, chance.randint(6, 7)), change_word),
    "one word of 8 to 12": (lambda chance: sentence(chance, chance.randint(8, 12)), change_word),
}
PROMISED: Mapping[str, float] = {"one word of 6 or 7": 0.6, "one word of 8 to 12": 0.95}


def _near_twin(text: str, chance: random.Random) -> tuple[str, str]:
    """A text and a copy with some letters changed whose 3-grams (5-grams in long texts) have Jaccard >= THRESHOLD."""
    width = 3 if len(text) < 600 else 5
    best = text
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(best))
        if not best[at].isalpha():
            continue
        made = best[:at] + chance.choice("abcdefghijklmnopqrstuvwxyz") + best[at + 1 :]
        if made != text and jaccard(text, made, width) >= THRESHOLD:
            best = made
    return text, best if best != text else text + "s"


def jaccard(one: str, other: str, width: int) -> float:
    """Jaccard similarity of the n-grams of two texts."""
    return _jaccard(grams_of(one, width), grams_of(other, width))


def grams_of(text: str, width: int) -> set[str]:
    """The n-grams of a text, signs as one space."""
    plain = " ".join("".join(letter if letter.isalnum() else " " for letter in text).split())
    return {plain[at : at + width] for at in range(len(plain) - width + 1)}


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _together(one: Sequence[str], other: Sequence[str], chance: random.Random) -> list[bool]:
    examples = _rows([*one, *other], chance)
    groups = group_examples(examples, [*one, *other], THRESHOLD).groups
    return [groups[i] == groups[i + len(one)] for i in range(len(one))]


def _rows(texts: Sequence[str], chance: random.Random) -> list[Example]:
    labels = TASK.labels or ()
    return [
        Example({"text": text}, {"label": chance.choice(labels)}, origin=f"made.csv:{line}")
        for line, text in enumerate(texts, 2)
    ]


def _count_leaks(train: Sequence[str], test: Sequence[str], chance: random.Random, join: bool) -> int:
    examples = _rows([*train, *test], chance)
    names = ["train"] * len(train) + ["test"] * len(test)
    grouping = group_examples(examples, [*train, *test], THRESHOLD, join_duplicates=join, parts=names)
    parts = Parts.of(TASK, examples[: len(train)], test=examples[len(train) :])
    return sum(
        one["exact"] + one["near"]
        for one in summarise_leaks(parts, find_leaks(parts, name_pairs_by_origin(examples, grouping)))
    )


def _many(count: int, scale: float) -> int:
    return max(1, round(count * scale))
