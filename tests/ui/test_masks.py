"""A broker with `--ui-mask`: the page never gets what is hidden, and does not write the sign for it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.ui.conftest import OpenBrowser
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.model.failures import ReportedError
from wonderq.model.masks import Mask
from wonderq.model.messages import Change, NewMessage, Target

SECRET = "4111222233334444"


@pytest.fixture
def masked() -> Iterator[ServedBroker]:
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker, mask=Mask([r"\d{16}"]))) as served:
        yield served
    broker.close()


def test_hidden_text_never_reaches_the_page(masked: ServedBroker, open_browser: OpenBrowser, tmp_path: Path) -> None:
    body = f'{{"card": "{SECRET}", "name": "Ann"}}'
    message_id = masked.broker.send("mail", [NewMessage(body, attributes={"card": ("Number", SECRET)})]).ids[0]
    masked.broker.update("mail", Target(id=message_id), Change(error=ReportedError(f"{SECRET} refused")))
    masked.broker.schedules.put("nightly", cron="0 0 * * *", queue="mail", body=SECRET)
    page = open_browser(f"http://{masked.host}:{masked.port}").page
    answers: list[str] = []
    page.on("response", lambda response: answers.append(response.text()) if "/assets/" not in response.url else None)
    address = f"http://{masked.host}:{masked.port}"
    page.goto(f"{address}/ui/queues/mail")
    page.get_by_role("link", name="Ann").click()
    page.get_by_role("heading", name="Last error").wait_for()
    page.get_by_text("cannot be edited or resent here").wait_for()
    assert not page.get_by_role("button", name="Edit…").count()
    assert not page.get_by_role("button", name="Resend as new…").count()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "body.txt")
    assert (tmp_path / "body.txt").read_text(encoding="utf-8") == '{"card": "•••", "name": "Ann"}'
    page.goto(f"{address}/ui/queues/mail?contains={SECRET}")
    page.get_by_text("1 looked at.").wait_for()
    page.goto(f"{address}/ui/schedules")
    page.get_by_role("cell", name="•••").wait_for()
    assert not page.get_by_role("button", name="Run now").count()
    assert not page.get_by_role("button", name="Edit…").count()
    page.wait_for_load_state("networkidle")
    assert any("•••" in each for each in answers)
    assert not [each for each in answers if SECRET in each]


def test_the_sign_is_refused_where_it_is_typed(masked: ServedBroker, open_browser: OpenBrowser) -> None:
    masked.broker.produce("mail", ["nothing to hide"])
    watched = open_browser(f"http://{masked.host}:{masked.port}")
    watched.may_fail = True
    page = watched.open("/ui/queues/mail")
    page.get_by_role("link", name="nothing to hide").click()
    page.get_by_role("button", name="Edit…").click()
    page.get_by_role("textbox", name="Text", exact=True).fill("card •••")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").filter(has_text="--ui-mask").wait_for()
    assert [each.body for each in masked.broker.messages("mail")] == ["nothing to hide"]
