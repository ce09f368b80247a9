"""Searches for better values of a configuration, with Optuna: the space, the trials and what they leave."""
