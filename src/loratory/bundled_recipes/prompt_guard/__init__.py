"""Prompts to an assistant, harmless or attacks on its rules; data written for this recipe."""
