"""From labelled examples and one short YAML to a small language model that is proven, exported and served."""

__version__ = "0.1.0"
