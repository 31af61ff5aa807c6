"""The command line: thin commands over the library; no logic of its own."""
