"""The columns that a shop declares, as requests and events have them."""
