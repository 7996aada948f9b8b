"""How predictors are made: a file each, with its options, its objection and its fit."""
