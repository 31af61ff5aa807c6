"""What comes in: images, labels, splits and how pixels are prepared."""
