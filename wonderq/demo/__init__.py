"""The demonstration: clients of a broker that is killed, and a check that nothing was lost."""
