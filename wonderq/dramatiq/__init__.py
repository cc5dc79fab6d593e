"""A broker for dramatiq: its tasks in queues of WonderQ. It needs dramatiq: `pip install 'wonderq[dramatiq]'`."""

from wonderq.dramatiq.broker import WonderQBroker

__all__ = ["WonderQBroker"]
