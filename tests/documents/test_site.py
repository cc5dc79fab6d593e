"""The documentation site builds without a warning, loads nothing from elsewhere, and its search answers questions."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.chromium import chromium
from tests.support.document_blocks import ROOT
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

#: Attributes by which a page loads something, by element. Links that a reader follows are not among them.
LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "form": ("action",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href",),
    "video": ("src", "poster"),
}

#: Questions, and the sections that answer them.
QUESTIONS = {
    "how do I retry after 5 minutes?": {
        "/how-to/retries-and-dead-letters/#retry-after-five-minutes",
        "/explanation/faq/#how-do-i-retry-after-five-minutes",
    },
    "what does 409 stale_receipt mean?": {"/reference/errors/#stale_receipt"},
    "can two tenants starve each other?": {"/how-to/fifo-and-tenants/#tenants-cannot-starve-each-other"},
    "is a message lost if the broker is killed?": {"/explanation/faq/#is-a-message-lost-if-the-broker-is-killed"},
    "how do I bring dead letters back?": {"/how-to/retries-and-dead-letters/#bring-dead-letters-back"},
    "how do I run a task every night?": {"/how-to/schedules/#run-a-task-every-night"},
    "how large may a message be?": {"/explanation/faq/#how-large-may-a-message-be"},
    "how do I back up a running broker?": {"/how-to/backup-and-move/#back-up-every-hour"},
    "how much memory does a message take?": {"/explanation/faq/#how-much-memory-does-a-message-take"},
    "how do I run it behind nginx with TLS?": {
        "/how-to/tls-and-proxies/#set-it-up",
        "/OPERATING/#behind-a-proxy-with-tls",
    },
    "how do I back up?": {"/how-to/backup-and-move/#back-up-every-hour", "/OPERATING/#back-up", "/TOOLS/#backup"},
    "how do I delay a message?": {"/explanation/faq/#how-do-i-delay-a-message", "/API/#produce"},
    "how do I move from SQS?": {
        "/how-to/migrate-from-sqs/",
        "/how-to/migrate-from-sqs/#the-queues-and-the-messages",
        "/how-to/migrate-from-sqs/#the-order-of-the-steps",
    },
    "how do I push to a webhook?": {"/PUSH/", "/PUSH/#subscribe-an-endpoint"},
    "how do I rotate a key?": {"/explanation/faq/#how-do-i-rotate-an-api-key", "/API/#handling-keys"},
    "how do I run two brokers for high availability?": {
        "/HIGH_AVAILABILITY/",
        "/HIGH_AVAILABILITY/#in-two-commands",
        "/explanation/faq/#may-i-run-two-brokers-on-one-folder",
    },
    "how do I write a test with WonderQ?": {
        "/HOW_TO/#test-your-program",
        "/TASKS/#tests",
        "/tutorials/first-worker/#test-the-tasks",
    },
    "is a message ever delivered twice?": {
        "/explanation/faq/#can-a-message-be-delivered-twice",
        "/API/#at-least-once-delivery",
    },
    "what happens when the disk is full?": {
        "/explanation/faq/#the-disk-is-full-what-now",
        "/reference/errors/#disk_full",
        "/OPERATING/#size",
    },
    "how do I move from RabbitMQ?": {"/how-to/migrate-from-rabbitmq/#move-the-messages"},
    "how do I test my program?": {"/HOW_TO/#test-your-program"},
    "the disk is full": {"/reference/errors/#disk_full", "/explanation/faq/#the-disk-is-full-what-now"},
    "when should I not use WonderQ?": {"/explanation/when-not-to-use/"},
    "how do I install it with pipx?": {"/INSTALL/"},
    "which extras are there?": {"/INSTALL/#extras"},
    "how do I downgrade?": {"/STABILITY/#upgrade-and-downgrade", "/how-to/upgrade/"},
}


class Loads(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in LOADING.get(tag, ()) and value]


def loads_of(text: str) -> list[str]:
    parser = Loads()
    parser.feed(text)
    return parser.found


def is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it."""
    pytest.importorskip("material", reason="the site's generator is not installed: pip install --group site")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        found = loads_of(page.read_text(encoding="utf-8"))
        assert found, f"{page} loads nothing at all"
        assert [each for each in found if is_elsewhere(each)] == [], page
    for sheet in sorted(site.rglob("*.css")):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet


def test_something_from_elsewhere_is_noticed() -> None:
    text = '<a href="https://a.example"><img src="x.png"><script src="https://b.example/x.js"></script><link href="//c.example">'
    assert [each for each in loads_of(text) if is_elsewhere(each)] == ["https://b.example/x.js", "//c.example"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page of the browser that fails the test if it asks another origin for anything."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    yield page
    page.close()
    assert requests
    assert [each for each in requests if not each.startswith((address, "data:", "blob:"))] == []


_RESULTS = """items => items.slice(0, 2).map(item =>
  [...item.querySelectorAll("a.md-search-result__link")].slice(0, 3).map(link => {
    const url = new URL(link.href);
    return url.pathname + url.hash;
  }))"""


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_the_search_answers_within_two_results(page: Any, address: str, question: str) -> None:
    page.goto(f"{address}/?q={quote(question)}")
    page.wait_for_selector(".md-search-result__item", state="attached")
    # The results are drawn one after another; the number above them comes last.
    page.wait_for_function("/[0-9]/.test(document.querySelector('.md-search-result__meta').innerText)")
    first_two = page.eval_on_selector_all(".md-search-result__item", _RESULTS)
    assert any(answer in links for links in first_two for answer in QUESTIONS[question]), first_two


@pytest.mark.parametrize("place", ["/", "/SEMANTICS/", "/DASHBOARD/", "/reference/http-calls/"])
def test_a_page_in_a_browser_asks_no_other_origin(page: Any, address: str, place: str) -> None:
    assert page.goto(address + place).ok
    page.wait_for_load_state("networkidle")
    broken = page.eval_on_selector_all(
        "img", "all => all.filter(each => each.complete && !each.naturalWidth).map(each => each.src)"
    )
    assert broken == []


def test_versions_are_set_up_for_mike(tmp_path: Path) -> None:
    pytest.importorskip("mike", reason="mike is not installed: pip install --group site")
    for name in ("benchmarks", "docs", "tools"):  # all that pages link to
        shutil.copytree(ROOT / name, tmp_path / name)
    for file in (ROOT / "mkdocs.yml", *ROOT.glob("*.md")):
        shutil.copy(file, tmp_path)
    programs = Path(sys.executable).parent
    author = {f"GIT_{role}_{field}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}

    def run(*command: str) -> str:
        environment = {**os.environ, **author, **path, "NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("git", "init", "--quiet")
    run("git", "commit", "--quiet", "--allow-empty", "--message", "empty")
    run("mike", "deploy", "--branch", "pages", "--update-aliases", "0.1", "latest")
    files = run("git", "ls-tree", "-r", "--name-only", "pages").splitlines()
    assert {"versions.json", "0.1/index.html", "latest"} <= set(files)
