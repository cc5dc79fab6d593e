"""Fibers, waiting, clock, rate limits and histograms. This package knows neither queues nor HTTP."""
