"""What the data of the recipe prompt-guard is made from."""
