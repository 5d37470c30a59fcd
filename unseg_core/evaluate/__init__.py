"""Downstream models trained on clean and on protected data, tested on clean images."""
