"""How stages are called: where, for how long, and what stands in for them."""
