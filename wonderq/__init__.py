"""WonderQ: a durable message broker in one process and one folder."""

__version__ = "0.1.0"
