"""Intervals, paired tests, calibration and thresholds; each formula with its source."""
