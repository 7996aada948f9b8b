"""The one loop, and what it is given: batches, precision, checkpoints, objectives."""
