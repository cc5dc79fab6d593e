"""The demonstration: a client of the product that kills it and counts."""
