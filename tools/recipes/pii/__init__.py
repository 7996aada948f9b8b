"""What the data of the recipe pii is made from."""
