"""Every random choice is a function of (seed, purpose, step), so that no RNG state has to cross a crash."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: object) -> int:
    """A 32-bit seed from a seed, a purpose and a step."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def make_generator(*parts: object) -> torch.Generator:
    """A torch generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))
