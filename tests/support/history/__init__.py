"""Histories of calls to a broker: recording, the rules that a history must obey, and the checker that applies them."""
