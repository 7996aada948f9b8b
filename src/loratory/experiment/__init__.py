"""A run of a spec, step by step, and what is asked of its results."""
