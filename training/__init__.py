"""Preparing tables, training models, evaluating them and writing bundles."""
