"""Files, hashing, downloads, progress and text: what every layer uses."""
