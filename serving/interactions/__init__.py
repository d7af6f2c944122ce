"""The stream of accepted interactions, read: features for serving now, records for the next training."""
