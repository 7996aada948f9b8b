"""Exports of annotation tools: a file for each tool, and `tool_detection` that tells them apart."""
