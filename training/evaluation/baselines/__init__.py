"""Strong baselines on the same split."""
