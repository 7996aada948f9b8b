"""Calls for the limits of a process: one that never ends, one that takes all memory."""

from __future__ import annotations


def loop_forever() -> None:
    while True:
        pass


def exhaust_memory() -> int:
    held = []
    while True:
        held.append(bytes(2**26))
