"""Prefect flows: what runs when, where and with which retries."""
