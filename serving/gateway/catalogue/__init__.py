"""Items as clients see them."""
