"""What a person looks at: reports of runs, and why a model answers as it does."""
