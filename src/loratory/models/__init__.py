"""Names to verified weights, trunks that many predictors share, and adapters on them."""
