"""Out of the run folder: one file that does all that `predict` does."""
