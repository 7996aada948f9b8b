"""Tokens one after another: batches of sequences, the KV cache, detokenizing, scoring."""
