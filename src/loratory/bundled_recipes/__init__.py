"""Specs with sample data, or with the place where their data is."""
