"""The YAML frame: one frozen model per thing it configures."""
