"""Frostline as scikit-learn estimators: for pipelines, searches, cross-validation and permutation tests.

Both take X as an array of images or of their paths, and keep activations by image: a whole search runs the frozen
stages once.
"""

from frostline.sklearn.classifier import TransferClassifier
from frostline.sklearn.transformer import FeatureExtractor

__all__ = ["FeatureExtractor", "TransferClassifier"]
