"""Simulated worlds whose truth is known: how often what the product claims is true there.

Each module simulates one kind of claim and has a function `claims(scale)` that yields a Claim for each promise;
`scale` multiplies the number of worlds. `benchmarks/evidence.py` runs them all; the tests run small versions.
"""
