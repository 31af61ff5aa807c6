"""The frozen pass and the feature cache: features are computed once per image."""
