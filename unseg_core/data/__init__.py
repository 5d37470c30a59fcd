"""Samples, layouts and where data sets come from."""
