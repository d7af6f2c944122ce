"""Queues: batches requests and refuses requests under overload."""
