"""A first spec for given data: the task is inferred, and the spec is written."""
