"""HTTP server for a model: an API for programs, and a web page."""
