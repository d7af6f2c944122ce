"""Runs stages: local or remote, with time limits and fallbacks."""
