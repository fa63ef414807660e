"""Flower, set up for Memlane."""
