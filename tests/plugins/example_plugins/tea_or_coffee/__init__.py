"""Orders at a counter: tea or coffee."""
