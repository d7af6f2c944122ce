"""Queues: batches requests and refuses those that are too many."""
