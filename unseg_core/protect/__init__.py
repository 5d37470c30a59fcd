"""Data set and method to protected copy."""
