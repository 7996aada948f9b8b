"""What the data of the recipe orders is made from."""
