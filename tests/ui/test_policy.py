"""Each directive of the policies forbids something: without it, one of these promises is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.ui.conftest import OpenBrowser, Watched
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.openapi import page as docs
from wonderq.ui import site

POLICIES = {"/ui": site.HEADERS, "/docs": docs.HEADERS}
_NAME = "Content-Security-Policy"

#: A second of silence.
_SOUND = "data:audio/wav;base64,UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
_IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_ELSEWHERE = "http://elsewhere.test/"

_LOADS = """([tag, source, loaded]) => new Promise(resolve => {
    const element = document.createElement(tag);
    element.addEventListener(loaded, () => resolve(true));
    element.addEventListener("error", () => resolve(false));
    element.src = source;
})"""

_SUBMIT = """address => new Promise(resolve => {
    document.addEventListener("securitypolicyviolation", () => resolve(true));
    const form = document.createElement("form");
    form.action = address;
    document.body.append(form);
    form.submit();
})"""


def runs_its_script(page: Any) -> bool:
    return bool(page.evaluate("typeof uPlot === 'function' || Boolean(document.documentElement.dataset.theme)"))


def has_its_style(page: Any) -> bool:
    return bool(page.evaluate("getComputedStyle(document.body).margin") == "0px")


def calls_the_broker(page: Any) -> bool:
    return bool(page.evaluate("fetch('/healthz').then(() => true, () => false)"))


def shows_images_of_its_own(page: Any) -> bool:
    return bool(page.evaluate(_LOADS, ["img", _IMAGE, "load"]))


def loads_nothing_else(page: Any) -> bool:
    return not page.evaluate(_LOADS, ["audio", _SOUND, "loadedmetadata"])


def keeps_its_base(page: Any) -> bool:
    script = "() => { const base = document.createElement('base'); base.href = '/other/'; document.head.append(base) }"
    page.evaluate(script)
    return not str(page.evaluate("document.baseURI")).endswith("/other/")


def makes_no_markup_of_text(page: Any) -> bool:
    script = "() => { try { document.createElement('p').innerHTML = '<b>x'; return false } catch { return true } }"
    return bool(page.evaluate(script))


def has_no_way_around(page: Any) -> bool:
    script = "() => { try { trustedTypes.createPolicy('any', {}); return false } catch { return true } }"
    return bool(page.evaluate(script))


def sends_no_form_elsewhere(page: Any) -> bool:
    page.context.route(f"{_ELSEWHERE}**", lambda route: route.fulfill(content_type="text/html", body="arrived"))
    try:
        return bool(page.evaluate(_SUBMIT, _ELSEWHERE))
    except Exception as error:
        if "navigation" not in str(error):
            raise
        page.wait_for_url(f"{_ELSEWHERE}**")  # the page was left while it waited for a refusal
        return False


def is_in_no_frame(page: Any) -> bool:
    address = page.evaluate("location.href")
    frame = f'<iframe src="{address}"></iframe>'
    page.context.route("**/framing", lambda route: route.fulfill(content_type="text/html", body=frame))
    page.goto(page.evaluate("location.origin") + "/framing")
    return "WonderQ" not in page.frames[1].evaluate("document.title")


#: By directive. The last two leave the page.
PROMISES: dict[str, Callable[[Any], bool]] = {
    "script-src": runs_its_script,
    "style-src": has_its_style,
    "connect-src": calls_the_broker,
    "img-src": shows_images_of_its_own,
    "default-src": loads_nothing_else,
    "base-uri": keeps_its_base,
    "require-trusted-types-for": makes_no_markup_of_text,
    "trusted-types": has_no_way_around,
    "frame-ancestors": is_in_no_frame,
    "form-action": sends_no_form_elsewhere,
}


def directives(path: str) -> dict[str, str]:
    return {each.partition(" ")[0]: each for each in POLICIES[path][_NAME].split("; ")}


#: /docs makes no calls, so its policy has no directive for them.
DIRECTIVES = {path: directives(path) for path in POLICIES}


def broken(watched: Watched, path: str) -> list[str]:
    """Return the directives whose promises do not hold, and forget what the browser complained about."""
    page = watched.open(path)
    found = []
    for name, promise in PROMISES.items():
        if name in DIRECTIVES[path]:
            if name == "form-action":
                page = watched.open(path)
            if not promise(page):
                found.append(name)
    watched.complaints.clear()
    return found


@pytest.mark.parametrize("path", POLICIES)
def test_its_policy_keeps_each_promise(open_page: OpenBrowser, path: str) -> None:
    assert broken(open_page(), path) == []


@pytest.mark.parametrize(("path", "name"), [(path, name) for path in POLICIES for name in DIRECTIVES[path]])
def test_each_directive_is_needed(
    open_browser: OpenBrowser, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    kept = [each for other, each in DIRECTIVES[path].items() if other != name]
    monkeypatch.setitem(POLICIES[path], _NAME, "; ".join(kept))
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker)) as served:
        assert name in broken(open_browser(address_of(served)), path)
    broker.close()


def address_of(served: ServedBroker) -> str:
    return f"http://{served.host}:{served.port}"


def test_a_request_to_another_origin_is_noticed(open_page: OpenBrowser) -> None:
    """Every test relies on this: pages call their own origin alone."""
    watched = open_page()
    page = watched.open("/ui")
    assert watched.complaints == []
    page.evaluate("address => fetch(address).catch(() => {})", _ELSEWHERE)
    assert any("elsewhere.test" in each for each in watched.complaints)
    watched.complaints.clear()
