"""Predictors asked outside of a run: local, remote, evaluation on new data, stress, redaction."""
