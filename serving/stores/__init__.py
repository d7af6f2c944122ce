"""Online stores: user features in Feast, recent and seen items in Redis, and an embedded Redis as the default.

Import the modules directly; only `feast_repo`, for jobs, imports feast, and only `owner` imports ray.
"""
