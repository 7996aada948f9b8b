"""A measured predictor in the layouts that stock libraries open."""
