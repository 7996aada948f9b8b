"""The router of vLLM: its layouts, its names and what it discovers in a folder."""
