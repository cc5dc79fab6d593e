"""A real broker for the tests of a program that uses WonderQ.

With pytest, the fixtures `wonderq_broker` and `wonderq_client` of `wonderq.pytest_plugin` need no import.
"""

from wonderq.testing.broker import Broker, BrokerEndedError, broker

__all__ = ["Broker", "BrokerEndedError", "broker"]
