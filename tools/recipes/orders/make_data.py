"""Write orders.jsonl from the authored ways of ordering, byte for byte the same on every run.

A way is one sentence with gaps; examples of one way never cross a split. What a message does not say is null. Run it
as `python tools/recipes/orders/make_data.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

FOLDER = Path(__file__).resolve().parent
RECIPE_FOLDER = FOLDER.parents[2] / "src" / "loratory" / "bundled_recipes" / FOLDER.name  # where the data is written
SEED = 20261
MESSAGES_PER_TEMPLATE = 12  # messages of one way
SYSTEM_PROMPT = "Read the order and answer with JSON."

TEMPLATES = """
Please send {count} of the {item} to our shop in {city} by {day}.
I would like to order {count} pieces of the {item}, delivery to {city}.
we need {count} {item} for {day}, thanks
Could you put me down for {count} of your {item}?
{count} x {item}, {city}, {day}
Hello, {name} here. Our branch in {city} is out of the {item}; {count} more please.
Can the {item} be in {city} on {day}? We take {count}.
Order for {name}: {item}, quantity {count}.
Last time the {item} sold well. Let us have {count} again, on {day} if you can.
The customer in {city} asked for {count} of the {item}.
As agreed on the phone: {count} units of the {item}, to be collected on {day}.
{item} - {count} - {city}
Would it be possible to get {count} of the {item} before {day}?
{name} from {city} wants {count} pieces, the {item} as before.
Dear team, kindly reserve {count} of the {item} for us.
We are opening in {city} on {day} and need {count} of the {item}.
pls ship {count} {item} asap
Add {count} of the {item} to my order for {day}.
My address is still in {city}. This time it is {count} of the {item}.
For {day}: {item}, {count} of them, {city} as usual.
How soon can {count} of the {item} reach {city}?
I think {count} of the {item} will do for now.
Our {city} office would like the {item}, {count} altogether.
The list says {item}: {count}. Is {day} all right?
{name} said that I should ask you for {count} of the {item}.
To {city}, please, and on {day}: {count} of the {item}.
One more thing, we are short of the {item}. Make it {count}.
If you still have the {item}, we buy {count} and fetch them in {city}.
From {city} we order the {item}, in all {count}, and {name} will sign for it.
Let me confirm: {day}, {count} of the {item}, nothing else.
Thanks for the quote, {name}. We go with {count} of the {item}, sent to {city}.
{count} of the {item} were missing from the parcel to {city}; please send them by {day}.
no hurry, but {count} {item} some time
It is {name} again; the {item} please, {count} like last month.
What we want on {day} is {count} of the {item}.
Bring {count} of the {item} along when you come to {city} on {day}.
Purchase order. Item: {item}. Number: {count}. Place: {city}. Date: {day}.
Purchase order. Item: {item}. Number: {count}.
Our stand at the fair in {city} needs {count} of the {item}.
Sorry for the late request, could {count} of the {item} still leave on {day}?
""".strip().splitlines()
ADJECTIVES = (
    "oak steel glass folding small large round square wooden plain striped heavy light grey blue red white".split()
)
PRODUCTS = (
    "shelf,desk lamp,chair,tool box,teapot,coat hook,basket,picture frame,door mat,candle,clock,cushion,stool,vase,"
    "lantern,tray,bread board,mirror,curtain rod,bucket"
).split(",")
CITIES = (
    "Lisbon Geneva Aarhus Bruges Cracow Dundee Florence Galway Haarlem Innsbruck Kassel Lucerne Nantes Odense".split()
)
NAMES = "Anneke Bruno Celia Dmitri Esther Fabian Greta Henrik Irina Joana Klaus Lucia Marek Nadine".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday".split()


def make_conversations() -> list[dict[str, Any]]:
    """Every conversation, in its fixed shuffled order."""
    chance = Random(SEED)
    made = [
        _make_conversation(chance, number, way)
        for number, way in enumerate(TEMPLATES, 1)
        for _ in range(MESSAGES_PER_TEMPLATE)
    ]
    chance.shuffle(made)
    return made


def _make_conversation(rng: Random, number: int, template: str) -> dict[str, Any]:
    item = f"{rng.choice(ADJECTIVES)} {rng.choice(PRODUCTS)}"
    values = {
        "item": item,
        "count": rng.randint(2, 99),
        "city": rng.choice(CITIES),
        "day": rng.choice(DAYS),
        "name": rng.choice(NAMES),
    }
    said = {key: values[key] if f"{{{key}}}" in template else None for key in ("item", "count", "city", "day")}
    told = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": template.format(**values)},
        {"role": "assistant", "content": json.dumps(said, ensure_ascii=False)},
    ]
    return {"messages": told, "family": f"way-{number}"}


def main() -> None:
    """Write orders.jsonl of the recipe."""
    lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in make_conversations()]
    (RECIPE_FOLDER / "orders.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
