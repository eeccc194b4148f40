"""Graphs measured on a network that runs."""
