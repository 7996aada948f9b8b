"""Pure functions from an example and a prediction to counts, and from counts to scores."""
