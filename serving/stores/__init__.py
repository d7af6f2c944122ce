"""Online state: user features in Feast, recent items and seen rings in Redis, and a Redis for where there is none.

Import the modules directly; only `feast_repo`, for jobs, imports feast, and only `owner` imports ray.
"""
