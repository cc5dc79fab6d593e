"""Helpers that several suites share: clocks, disks, logs, brokers and clients for tests.

A suite is a folder of `tests`. It imports from this package and from itself, and never from another suite.
"""
