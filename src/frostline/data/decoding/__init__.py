"""Decode image files within limits on time and memory."""
