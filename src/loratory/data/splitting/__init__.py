"""Parts without leaks: near-duplicates, groups, assignment, the ledger of test reads."""
