"""Releases: what may serve, bound by digest to the evidence that let it."""
