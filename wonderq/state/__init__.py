"""The state: a pure function of the records in the log."""
