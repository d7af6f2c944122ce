"""The HTTP side: validation, batching, hydrated answers, the catalogue and the API's description."""
