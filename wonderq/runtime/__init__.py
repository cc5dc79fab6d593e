"""Fibers, waiting, clocks and counting tools that know neither queues nor HTTP."""
