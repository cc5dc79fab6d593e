"""Clients of SQS as they are, each against a broker in a process of its own: nothing is changed for them but the address."""
