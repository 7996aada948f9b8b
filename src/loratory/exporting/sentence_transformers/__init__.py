"""Classifiers with a pooled head as modules of sentence-transformers."""
