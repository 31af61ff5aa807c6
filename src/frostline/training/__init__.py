"""Training on features, cached or live."""
