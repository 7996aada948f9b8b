"""The steps of a run, a file each: preflight, tuning trials, fit, operating points, measure, latency."""
