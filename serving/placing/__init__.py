"""Which stages there are, and what runs where."""
