"""Values: messages, settings, errors, ids, limits. No state, no I/O and no clock."""
