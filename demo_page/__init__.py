"""The demo page: shows recommendations and how they change. It uses the HTTP API through `recommender_client` only."""
