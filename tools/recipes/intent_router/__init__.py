"""What the data of the recipe intent-router is made from."""
