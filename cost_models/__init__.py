"""Analytical prices of a Program on a Target."""
