"""Point-in-time features and the processed events that trainers and evaluation read."""
