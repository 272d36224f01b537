"""Latewood: late-interaction retrieval, measured."""

__version__ = "0.1.0"
