"""What is trained on top of activations, wherever they come from."""
