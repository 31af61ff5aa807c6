"""Metrics with confidence intervals, calibration, paired tests, and rejection."""
