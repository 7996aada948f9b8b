"""Foreign products, one folder each."""
