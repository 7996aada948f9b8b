"""What a person sees of a run while it works: a console on stderr, and a progress bar."""
