"""Thin Ray Serve shells around the gateway and the stage groups."""
