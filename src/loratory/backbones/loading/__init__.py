"""Names of bases to verified weights, tokenizers and configurations."""
