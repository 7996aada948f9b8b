"""Golden inputs, and the certificate that an exported form answers as the fit does."""
