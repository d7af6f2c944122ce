"""Strong baselines on the same split: a claim without them is empty."""
