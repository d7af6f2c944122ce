"""The stages, and their placement in deployments."""
