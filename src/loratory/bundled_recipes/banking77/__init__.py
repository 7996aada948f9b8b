"""77 banking intents (Casanueva et al. 2020, CC BY 4.0)."""
