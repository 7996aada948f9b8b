"""What answers; no training code."""
