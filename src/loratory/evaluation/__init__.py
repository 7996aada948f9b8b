"""Evidence: intervals, comparisons, calibration, the gate, the verdict and the report page."""
