"""HAProxy in front of the gateways, as Ray Serve starts it: settings, and what Ray has no setting for."""
