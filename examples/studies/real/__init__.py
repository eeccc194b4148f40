"""Pretrained networks that people use, real pictures, measured latency."""
