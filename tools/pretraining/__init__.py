"""Teaching a network with drawn images, for when no pre-trained weights can be had."""
