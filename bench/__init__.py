"""Measurements behind the figures in README.md and docs/: `python -m bench list` names them."""
