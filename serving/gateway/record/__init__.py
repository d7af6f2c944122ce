"""What visitors do and were shown, and what is kept about them."""
