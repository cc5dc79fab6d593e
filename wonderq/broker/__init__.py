"""The broker: every decision about queues and messages."""
