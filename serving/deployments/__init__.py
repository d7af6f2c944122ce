"""Thin Ray Serve shells around the gateway and the stages."""
