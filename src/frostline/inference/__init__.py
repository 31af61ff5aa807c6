"""Use a trained model: classify images and explain answers."""
