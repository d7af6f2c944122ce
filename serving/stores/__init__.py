"""Online state: user features in Feast, recent and seen items in Redis, and a Redis for where there is none.

Import the modules directly; only `feast_repo`, for jobs, imports feast, and only `owner` imports ray.
"""
