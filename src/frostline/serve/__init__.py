"""A finished model behind HTTP: the interface for programs, and a page for people."""
