"""Exports of annotation tools: a file for each tool, and `forms` that tells them apart."""
