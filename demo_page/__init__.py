"""A page to watch the recommender: it calls the HTTP API through `recommender_client`, as any other client may."""
