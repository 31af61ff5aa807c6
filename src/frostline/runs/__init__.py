"""A run from data to metrics, what it leaves on disk, and using what it left."""
