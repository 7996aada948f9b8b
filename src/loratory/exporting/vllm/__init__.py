"""Causal bases with their adapters for vLLM."""
