"""What comes in: pictures, labels, splits and how pixels are prepared."""
