"""Audit of a data set: label errors, near-duplicates, outliers and ambiguous images."""
