"""Folders written whole or not at all, with manifests of SHA-256 digests."""
