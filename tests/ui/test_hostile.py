"""Messages, attributes and names that want to be more than text stay text."""

from __future__ import annotations

import pytest

from tests.support.http_client import ServedBroker
from tests.ui.conftest import OpenBrowser
from wonderq.model.messages import NewMessage

ATTACK = "window.wasHit = true"
BODIES = {
    "an image": f'<img src=x onerror="{ATTACK}">',
    "a script": f"</script><script>{ATTACK}</script>",
    "a template": f"${{{ATTACK}}} {{{{{ATTACK}}}}} <${{'x'}}>",
    "json with markup": f'{{"<img src=x onerror={ATTACK}>": "<svg onload={ATTACK}>", "__proto__": {{"polluted": 1}}}}',
    "not quite json": '{"a": ',
    "a null character": "before\u0000after",
    "text that turns": "invoice\u202egnp.exe",
    "a vnode": '{"type": "img", "props": {"dangerouslySetInnerHTML": {"__html": "<b>x</b>"}}, "__v": 1, "constructor": null}',
    "one long line": "x" * ((1 << 20) - 1000),
    "a link": f"javascript:{ATTACK}",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_stays_text(served: ServedBroker, open_page: OpenBrowser, name: str) -> None:
    attack = f"<img src=x onerror={ATTACK}>"
    attributes = {"__proto__": ("String", attack), "constructor": ("String", "x"), "toString": ("Number", "1")}
    [sent] = served.broker.send("mail", [NewMessage(BODIES[name], attributes=attributes, group=attack)])
    watched = open_page()
    page = watched.open("/ui/queues/mail")
    page.locator("tbody [data-open]").click()
    page.get_by_role("heading", name="Details").wait_for()
    for form in ("Text", "Hex", "JSON"):
        button = page.get_by_role("button", name=form, exact=True)
        if button.count():
            button.click()
    page.get_by_text("__proto__", exact=True).last.wait_for()
    assert page.evaluate("window.wasHit") is None
    assert page.evaluate("({}).polluted") is None
    assert page.locator("dialog img, dialog svg, dialog script, dialog b, main td img").count() == 0
    assert watched.sideways_px() == 0
    assert sent.id in page.locator("dialog").inner_text()


def test_invisible_characters_show_as_their_numbers(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", [BODIES["text that turns"], BODIES["a null character"]])
    page = open_page().open("/ui/queues/mail")
    page.get_by_text("invoice⟨202E⟩gnp.exe").wait_for()
    page.get_by_text("before⟨0000⟩after").wait_for()


def test_a_filter_in_the_address_stays_text(served: ServedBroker, open_page: OpenBrowser) -> None:
    served.broker.produce("mail", ["x"])
    page = open_page().open(f"/ui/queues/mail?contains=%3Cimg%20src%3Dx%20onerror%3D%22{ATTACK}%22%3E")
    page.get_by_text("No message has “<img src=x onerror=").wait_for()
    assert page.evaluate("window.wasHit") is None


def test_a_policy_that_is_broken_is_noticed(open_page: OpenBrowser) -> None:
    """The other tests rely on this: markup and code made of text are refused, and the refusal is heard of."""
    watched = open_page()
    page = watched.open("/ui")
    page.get_by_text("Nothing needs you.").wait_for()
    refused = page.evaluate("try { document.body.innerHTML = '<p>x'; 'made' } catch (error) { String(error) }")
    assert "TypeError" in refused
    assert any("TrustedHTML" in each for each in watched.complaints)
    watched.complaints.clear()
