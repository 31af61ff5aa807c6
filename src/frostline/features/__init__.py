"""The frozen pass and what it leaves: activations that are computed once per image and kept."""
