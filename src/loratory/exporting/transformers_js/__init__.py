"""Encoders for transformers.js, and a page that runs one in a browser."""
