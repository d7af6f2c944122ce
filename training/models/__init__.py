"""Two-tower and ranker in pure torch: one builder a model for training, index building and serving."""
