"""Evidence: statistics, the gate, the verdict and the report page."""
