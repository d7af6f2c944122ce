"""Recommendations and rankings: from a checked request to an answer."""
