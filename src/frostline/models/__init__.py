"""Pre-trained networks as ordered, named stages, and the cut between frozen and thawed."""
