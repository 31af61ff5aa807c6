"""Studies of many trainings over one cache: learning curves, searches, the range test and audits."""
