"""The failure of a consumer at the dashboard: its error, and who reported it when."""

from __future__ import annotations

from tests.support.http_client import ServedBroker
from tests.ui.conftest import OpenBrowser
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.polls import Sources
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, Target


def test_a_dead_letter_shows_its_error_its_try_and_its_worker(served: ServedBroker, open_page: OpenBrowser) -> None:
    broker = served.broker
    broker.put_queue("mail", dead_letter_queue="dead")
    broker.produce("mail", ["parcel"])
    [held] = broker.claim_from(Sources(("mail",)), ClaimOptions(consumer="worker-1:42"))
    error = ReportedError("no route to host", "OSError", "Traceback: line 7")
    broker.update("mail", Target(receipt=held.receipt), Change(dead=True, error=error))
    page = open_page().open("/ui/queues/dead")
    page.get_by_role("link", name="parcel").click()
    section = page.locator("section").filter(has=page.get_by_role("heading", name="Last error"))
    section.get_by_text("OSError: no route to host").wait_for()
    section.get_by_text("Try 1 of worker-1:42").wait_for()
    section.get_by_text("Traceback: line 7").wait_for()
