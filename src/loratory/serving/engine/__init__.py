"""Requests to answers: workers, the scheduler, the fallback chain, metrics."""
