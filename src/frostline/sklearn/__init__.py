"""scikit-learn estimators for pipelines, searches, cross-validation and permutation tests.

X is an array of images or of their paths. Features are cached by image, so a search runs the frozen stages once.
"""

from frostline.sklearn.classifier import TransferClassifier
from frostline.sklearn.transformer import FeatureExtractor

__all__ = ["FeatureExtractor", "TransferClassifier"]
