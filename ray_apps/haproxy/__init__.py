"""HAProxy in front of the gateways, started by Ray Serve: its settings, also those that Ray does not offer."""
