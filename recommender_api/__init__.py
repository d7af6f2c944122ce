"""What the HTTP API takes and gives, once: types, operations, and the values that it shares with tables.

Standard library and msgspec only: the service, the client and the jobs import it.
"""
