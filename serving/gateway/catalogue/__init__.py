"""The items as clients see them."""
