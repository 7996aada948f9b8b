"""Contracts, a file each."""
