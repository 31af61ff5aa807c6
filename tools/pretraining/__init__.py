"""Teaching a network with drawn pictures, for when no pre-trained weights can be had."""
