"""What a person asks for, composed of the layers to the left."""
