"""Changes of a text that leave its right answer as it is; entry points `loratory.perturbations` name them."""
