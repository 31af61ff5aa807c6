"""Pre-train a network on drawn images, for use where no other pre-trained weights are available."""
