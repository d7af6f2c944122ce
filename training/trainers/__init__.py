"""Ray Train around one step and evaluation loop that both models share."""
