"""API keys, sessions and host names."""
