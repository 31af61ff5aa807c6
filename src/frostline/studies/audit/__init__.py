"""What is wrong with a data set: labels, copies, odd ones and unclear ones, found on kept activations."""
