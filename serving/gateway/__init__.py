"""The HTTP side: validation, batches, hydrated answers, the catalogue and the API's description."""
