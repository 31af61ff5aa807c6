"""Data sets: sources, splits, decoding, preprocessing and augmentation."""
