"""Definition of the HTTP API: types of requests and answers, operations, and values shared with tables.

Imported by service, client and jobs, so it needs only the standard library and msgspec.
"""
