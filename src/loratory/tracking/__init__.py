"""Where the events of a run are kept: a tracker a file."""
