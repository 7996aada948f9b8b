"""What a backbone computes: encoder and causal passes, several adapters in one batch, part of the layers, int8."""
