"""Requests wait for their batch, or are refused before there are too many."""
