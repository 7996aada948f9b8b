"""Support tickets that a generator of ours writes: easy for TF-IDF, with groups of near-duplicates."""

from __future__ import annotations

import random
from pathlib import Path

import loratory

WORDS = {
    "billing": ("invoice", "refund", "payment", "card charge", "receipt"),
    "login": ("password", "account", "sign-in page", "security code", "login"),
    "shipping": ("parcel", "delivery", "courier", "shipping address", "order"),
}
OPENINGS = ("Hello", "Hi there", "Dear team", "Please help", "Good morning", "I have a question")
TROUBLES = ("is wrong", "does not work", "is missing", "was changed", "never arrived", "looks odd", "is locked")
ENDINGS = ("since Monday", "again", "and I am in a hurry", "on my phone", "for the second time", "after the update")


def make_tickets(count: int, seed: int = 1) -> list[dict[str, object]]:
    """Rows of id, message, team and channel."""
    chance = random.Random(seed)
    teams = list(WORDS)
    rows: list[dict[str, object]] = []
    for number in range(count):
        team = teams[number % len(teams)]
        parts = (OPENINGS, WORDS[team], TROUBLES, ENDINGS)
        opening, thing, trouble, ending = (chance.choice(part) for part in parts)
        message = f"{opening}, my {thing} {trouble} {ending}"
        rows.append({"id": number, "message": message, "team": team, "channel": chance.choice(("mail", "chat"))})
    return rows


def run_tickets(output: Path, count: int, ladder: list[object] | None = None) -> loratory.Run:
    """A quick run over so many tickets, called `tickets`."""
    return loratory.run(
        make_tickets(count),
        text="message",
        label="team",
        name="tickets",
        output=output,
        ladder=ladder or ["rules", "tfidf"],
        evidence={"resamples": 200, "latency_texts": 5},
    )
