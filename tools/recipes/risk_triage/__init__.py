"""What the data of the recipe risk-triage is made from."""
