"""Records: events, shown lists and personal data."""
