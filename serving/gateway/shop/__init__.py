"""The declared columns of a shop in requests and events."""
