"""The queues of a small shop, with work in all states and traffic: something to look at in the dashboard."""

from __future__ import annotations

from typing import Any

from wonderq.client.claims import ToDeadLetters
from wonderq.client.failures import Failure
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

_FIRST_ORDER = 10_001
_CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald", "radia", "leslie")

#: Failures of deliveries, the most common one first.
_FAILURES = (
    Failure("SMTPRecipientsRefused", "550 5.1.1 mailbox unavailable"),
    Failure("ConnectionError", "mail.example.com refused the connection"),
    Failure("SMTPRecipientsRefused", "550 5.1.1 mailbox unavailable"),
    Failure("KeyError", "'address'"),
)

#: The queue of pictures grows, but not without end.
_MOST_PICTURES = 5000

#: The queue of statistics is full from then on, and refuses what is published.
_MOST_STATISTICS = 60


class Shop:
    """A shop whose consumers of pictures and statistics are too slow, and some of whose mails cannot be delivered."""

    def __init__(self, client: Client) -> None:
        """Make a shop. The client's ``consumer`` is the name under which the broker shows who has a message."""
        self._client = client
        self._orders = client.queue("orders")
        self._mails = client.queue("mails")
        self._pictures = client.queue("pictures")
        self._invoices = client.queue("invoices.fifo")
        self._events = client.topic("order-events")
        self._books = client.queue("bookkeeping")
        self._figures = client.queue("statistics")
        self._turns = 0

    def open(self) -> None:
        """Create the queues and the schedules, with some work in each."""
        dead = self._client.queue("mails-dead")
        dead.configure()
        self._orders.configure(visibility_timeout=60, max_receives=5)
        self._mails.configure(max_receives=3, dead_letter_queue=dead.name, visibility_timeout=60)
        self._pictures.configure(visibility_timeout=120)
        newsletter = self._client.queue("newsletter")
        newsletter.configure(paused=True)
        newsletter.send_together([self._mail(number, "News of November") for number in range(40)])
        self._client.put_schedule("nightly-report", cron="30 4 * * *", queue="reports", body="report of yesterday")
        self._client.put_schedule("stock-check", cron="*/15 8-18 * * MON-FRI", queue="reports", body="count the stock")
        self._pictures.send_together([self._picture(number) for number in range(200)])
        self._invoices.send_together(
            [(self._order(number), {"group": _CUSTOMERS[number % len(_CUSTOMERS)]}) for number in range(12)]
        )
        self._mails.send_together([self._mail(number, "Your order is on its way") for number in range(24)])
        failed = self._mails.receive(12)
        self._mails.next(
            dead=[ToDeadLetters(each, _FAILURES[number % len(_FAILURES)]) for number, each in enumerate(failed)]
        )
        self._orders.send_together([self._order(number) for number in range(30)])
        self._orders.receive(2, lease=1800)  # work that takes long
        self._orders.send(self._order(30), delay=900)
        self._open_topic()
        self._turns = 30

    def _open_topic(self) -> None:
        self._books.configure(visibility_timeout=60)
        self._figures.configure(max_messages=_MOST_STATISTICS)
        warehouse, refused = self._client.queue("warehouse"), self._client.queue("statistics-refused")
        warehouse.configure()
        refused.configure()
        self._events.configure(tags={"team": "orders"})
        self._events.subscribe("bookkeeping", "bookkeeping", filter={"kind": ["paid", "refunded"]}, raw=False)
        self._events.subscribe("statistics", "statistics", when_full="skip", dead_letter_queue=refused.name)
        self._events.subscribe("large-orders", "warehouse", filter={"amount": [{"numeric": [">=", 500]}]}, paused=True)

    def run(self) -> None:
        """Run one turn of traffic: some orders, mails and pictures come, and most of them are done."""
        self._turns += 1
        number = self._turns
        for at in range(3):
            self._orders.send(self._order(3 * number + at))
            self._mails.send(self._mail(3 * number + at, "Thank you for your order"))
        if self._pictures.count("unprocessed") < _MOST_PICTURES:
            self._pictures.send_together([self._picture(2 * number + at) for at in range(2)])
        for at, kind in enumerate(("paid", "packed")):
            amount = 20 + 37 * number % 700
            self._events.publish(self._order(3 * number + at), attributes={"kind": kind, "amount": amount})
        _finish(self._books, 1)
        if number % 9:
            _finish(self._figures, 2)
        _finish(self._orders, 3)
        _finish(self._pictures, 1)
        if number % 20:
            _finish(self._mails, 3)
        else:
            for message in self._mails.receive(1):
                message.dead(_FAILURES[number // 20 % len(_FAILURES)])

    def _order(self, number: int) -> dict[str, Any]:
        customer = _CUSTOMERS[number % len(_CUSTOMERS)]
        lines = [{"sku": f"A-{number * 7 % 900:03}", "count": 1 + number % 3}]
        return {"order": _FIRST_ORDER + number, "customer": f"{customer}@example.com", "lines": lines}

    def _mail(self, number: int, subject: str) -> dict[str, Any]:
        customer = _CUSTOMERS[number % len(_CUSTOMERS)]
        return {"to": f"{customer}@example.com", "subject": subject, "order": _FIRST_ORDER + number}

    def _picture(self, number: int) -> dict[str, Any]:
        return {"file": f"products/A-{number * 7 % 900:03}.jpg", "sizes": [64, 256, 1024]}


def _finish(queue: Queue, limit: int) -> None:
    queue.delete(queue.receive(limit))
