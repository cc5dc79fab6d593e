"""The dashboard without a browser: its files and headers, sessions, and what it may do. tests/ui has the rest."""

from __future__ import annotations

import gzip
import logging
import re
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon.testing import Result, TestClient

from tests.support.http_client import check_refused, serving
from tests.support.memory_log import MemoryLog
from wonderq.app import App, add_dashboard, create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import ROLES, UI_CLUSTER_PAGE, UI_PAGES
from wonderq.auth.sessions import MAX_SESSIONS, SESSION_S, Sessions, cookie_name
from wonderq.broker.broker import Broker
from wonderq.ui import site

FOLDER = Path(site.__file__).parent
OUR_FILES = [*FOLDER.glob("app/*.js"), *FOLDER.glob("pages/*.js")]
PAGES = [path.replace("{queue}", "mail").replace("{topic}", "orders") for path in UI_PAGES]

#: Headers that a page of the broker sends with each call.
OURS = {"Sec-Fetch-Site": "same-origin", "X-WonderQ-UI": "1", "Host": "127.0.0.1:7979"}


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(Broker(MemoryLog())))


class Guarded:
    """A broker with keys, and a browser that may be logged in."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.path = folder / "keys.json"
        self.key = keys.create(self.path, name="on call", roles=["admin"], queues=["*"])[1]
        self.access = Access(Keys(self.path, check_interval_s=0))
        self.client = TestClient(create_app(Broker(MemoryLog()), self.access, **settings))  # type: ignore[arg-type]
        self.cookies: dict[str, str] = {}

    def call(self, method: str, path: str, *, json: object = None, headers: dict[str, str] | None = None) -> Result:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {**(OURS if headers is None else headers), **({"Cookie": cookie} if cookie else {})}
        return self.client.simulate_request(method, path, json=json, headers=sent, remote_addr="127.0.0.1")

    def log_in(self, key: str | None = None) -> Result:
        reply = self.call("POST", "/ui/session", json={"key": key or self.key})
        self.cookies |= {name: each.value for name, each in reply.cookies.items()}
        return reply


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


# Files


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_served_with_its_policy(client: TestClient, path: str) -> None:
    reply = client.simulate_get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, falcon.MEDIA_HTML)
    policy = reply.headers["content-security-policy"]
    for directive in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ):
        assert directive in policy.split("; ")
    assert "<script>" not in reply.text


def test_only_a_node_of_a_cluster_has_the_page_of_the_cluster(client: TestClient) -> None:
    check_refused(client.simulate_get(UI_CLUSTER_PAGE), 404, "path_not_found")
    app: App = falcon.App()
    add_dashboard(app, is_of_cluster=True)
    of_node = TestClient(app)
    page = of_node.simulate_get(UI_CLUSTER_PAGE)
    assert page.content == of_node.simulate_get("/ui").content
    assert page.text.replace(" data-cluster", "") == client.simulate_get("/ui").text != page.text
    assert page.headers["content-security-policy"] == client.simulate_get("/ui").headers["content-security-policy"]


def test_files_are_compressed_and_sent_again_only_if_they_changed(client: TestClient) -> None:
    for path in ("/ui", "/ui/assets/app/main.js", "/ui/assets/app/style.css", "/ui/assets/vendor/preact.js"):
        plain = client.simulate_get(path)
        packed = client.simulate_get(path, headers={"Accept-Encoding": "gzip, deflate"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.content) == plain.content
        assert packed.headers["cache-control"] == "no-cache"
        again = client.simulate_get(path, headers={"If-None-Match": packed.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_file_that_has_not_changed_is_no_reason_to_close_the_connection() -> None:
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker)) as wire, wire.connect() as connection:
        etag = site.load()[0].etag
        request = f"GET /ui HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {etag}\r\n\r\n".encode()
        for _ in range(2):
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            assert head.startswith(b"HTTP/1.1 304")
            assert b"onnection: close" not in head


@pytest.mark.parametrize("path", ["app/nothing.js", "vendor/vendored.toml", "../site.py", "pages/..%2Fsite.py"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.simulate_get(f"/ui/assets/{path}").status_code == 404


def imports(path: Path) -> list[str]:
    """Return the files that a script needs before it runs."""
    return _paths(path, re.findall(r'^import .*? ?from "(.*?)";$', path.read_text(encoding="utf-8"), re.MULTILINE))


def later_imports(path: Path) -> list[str]:
    """Return the files that a script asks for when they are needed."""
    return _paths(path, re.findall(r'import\("(.*?)"\)', path.read_text(encoding="utf-8")))


def _paths(path: Path, named: list[str]) -> list[str]:
    return [(path.parent / each).resolve().relative_to(FOLDER).as_posix() for each in named]


def files_of(page: str) -> set[str]:
    """Return the files that the browser asks for before a page shows something: those of the document, and of the page."""
    needed = set(re.findall(r'"/ui/assets/(.*?)"', site.load()[0].content.decode())) | {page}
    while more := {each for name in needed if name.endswith(".js") for each in imports(FOLDER / name)} - needed:
        needed |= more
    return needed


def test_all_that_the_page_and_its_scripts_name_is_there() -> None:
    document, files = site.load()
    named = set(re.findall(r'"/ui/assets/(.*?)"', document.content.decode()))
    for path in OUR_FILES:
        named |= set(imports(path)) | set(later_imports(path))
    assert named <= files.keys()
    assert {name for name in files if name.endswith((".js", ".css"))} == named, "and nothing else"


def test_colours_have_one_source() -> None:
    """The dashboard and /docs share them, and so do style sheets and charts."""
    defined = set(re.findall(r"(--[\w-]+):", (FOLDER / "app" / "colours.css").read_text(encoding="utf-8")))
    for sheet in (FOLDER / "app" / "style.css", FOLDER.parent / "openapi" / "page.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b|light-dark\(|--[\w-]+:", text), sheet
        assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined
    for path in OUR_FILES:
        assert set(re.findall(r'color: "(.*?)"', path.read_text(encoding="utf-8"))) <= defined


def test_files_of_others_are_as_they_were_published() -> None:
    vendored = tomllib.loads((FOLDER / "vendor" / "vendored.toml").read_text(encoding="utf-8"))
    assert {each.name for each in FOLDER.glob("vendor/*.[jc]*s")} == vendored.keys()
    for name, each in vendored.items():
        published = (FOLDER / "vendor" / name).read_bytes()
        assert sha256(published).hexdigest() == each["sha256"], name
        assert site.load()[1][f"vendor/{name}"].content.startswith(published)
        for licence in each["licences"]:
            assert (FOLDER / "vendor" / licence).stat().st_size > 500


@pytest.mark.parametrize("path", OUR_FILES, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_of_text(path: Path) -> None:
    """The broker returns texts of others, which must not become markup or code."""
    text = path.read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "document.write", "eval("):
        assert word not in text
    assert not re.search(r"new Function|setTimeout\(\s*[\"'`]|https?://(?!\$)", text)


#: Pages with a chart, whose library is loaded besides.
CHARTS = ("overview.js", "history.js")

#: Bytes over the wire, and requests, before each page shows something, apart from its data.
MOST_BYTES, MOST_BYTES_WITH_CHART, MOST_REQUESTS = 41_000, 60_000, 22


@pytest.mark.parametrize("page", sorted(each.name for each in FOLDER.glob("pages/*.js")))
def test_each_page_is_small(page: str) -> None:
    document, files = site.load()
    needed = files_of(f"pages/{page}")
    assert {"app/main.js", "vendor/preact.js", "app/style.css"} <= needed
    size = len(document.compressed) + sum(len(files[name].compressed) for name in needed)
    assert size < MOST_BYTES, f"{size:,} bytes"
    assert len(needed) + 1 <= MOST_REQUESTS
    if page in CHARTS:
        assert size + len(files["vendor/uplot.js"].compressed) < MOST_BYTES_WITH_CHART


def test_the_dashboard_is_a_small_part_of_the_package() -> None:
    document, files = site.load()
    size = sum(len(each.compressed) for each in (document, *files.values()))
    # Every page is as small as before. There are more of them: those of topics, of a shared log and of a cluster.
    assert size < 115_000, f"{size:,} bytes"


# Access


def test_it_can_be_switched_off() -> None:
    client = TestClient(create_app(Broker(MemoryLog()), ui="off"))
    for path in (*PAGES, "/ui/assets/app/main.js"):
        check_refused(client.simulate_get(path), 404, "path_not_found")
    assert client.simulate_get("/overview").status_code == 200


def test_a_link_of_another_site_leads_to_a_page_and_to_nothing_else(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.simulate_get("/ui/queues/mail", headers=link).status_code == 200
    assert client.simulate_get("/docs", headers=link).status_code == 200
    for path in ("/queues", "/overview", "/uix"):
        check_refused(client.simulate_get(path, headers=link), 403, "cross_site_request")
    framed = {**link, "Sec-Fetch-Dest": "iframe"}
    check_refused(client.simulate_get("/ui", headers=framed), 403, "cross_site_request")
    check_refused(client.simulate_post("/ui/session", headers=link), 403, "cross_site_request")


@pytest.mark.parametrize("site_of_link", ["cross-site", "same-site"])
def test_a_link_of_another_site_calls_no_action(client: TestClient, site_of_link: str) -> None:
    link = {"Sec-Fetch-Site": site_of_link, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    link["User-Agent"] = "Mozilla/5.0"
    client.simulate_post("/queues/victim/messages/produce", json={"message": "x"})
    client.simulate_put("/topics/orders", json={})
    assert client.simulate_get("/", headers=link).headers["location"] == "/docs"
    assert client.simulate_get("/?utm_source=chat", headers=link).headers["location"] == "/docs"
    topic = "TopicArn=arn:aws:sns:us-east-1:000000000000:orders"
    for target in (
        "/?Action=PurgeQueue&QueueUrl=victim",
        "/?Action=ReceiveMessage&QueueUrl=victim",
        "/?Action=PurgeQueue&QueueUrl=victim&Action=ConfirmSubscription",
        "/?Action=ConfirmSubscription&Version=2012-11-05&Action=PurgeQueue&QueueUrl=victim",
        "/?X-Amz-Credential=x&Action=DeleteTopic&" + topic,
        "/?Action=DeleteTopic&" + topic,
        "/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-east-1:000000000000:orders:mine",
        "/000000000000/victim?Action=PurgeQueue",
        "/queue/victim?Action=PurgeQueue",
    ):
        reply = client.simulate_get(target, headers=link)
        assert (reply.status_code, "a web page of another site" in reply.text) == (403, True), target
    assert client.simulate_get("/queues/victim").json["counts"]["unprocessed"] == 1
    assert client.simulate_get("/topics/orders").status_code == 200


def test_a_link_that_confirms_a_subscription_needs_its_token_and_nothing_else(client: TestClient) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    target = "/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:000000000000:orders&Token=0123456789"
    reply = client.simulate_get(target, headers=link)
    assert (reply.status_code, "<Code>InvalidParameter</Code>" in reply.text) == (400, True), "the action decides"


def test_a_session_stands_for_its_key(guarded: Guarded) -> None:
    check_refused(guarded.call("GET", "/overview"), 401, "unauthorized")
    reply = guarded.log_in()
    assert reply.json == {"success": True}
    cookie = reply.cookies["wonderq-7979"]
    assert (cookie.http_only, cookie.same_site, cookie.max_age, cookie.path) == (True, "Strict", SESSION_S, "/")
    assert guarded.key not in reply.headers["set-cookie"]
    assert guarded.call("GET", "/overview").json["access"]["name"] == "on call"
    assert guarded.call("PUT", "/queues/mail", json={"delay": 1}).status_code == 201


def test_the_cookie_counts_only_in_calls_of_the_page(guarded: Guarded) -> None:
    guarded.log_in()
    for left_out in ("Sec-Fetch-Site", "X-WonderQ-UI"):
        headers = {name: value for name, value in OURS.items() if name != left_out}
        check_refused(guarded.call("GET", "/queues", headers=headers), 401, "unauthorized")
    for site_of_request in ("none", "same-site", "cross-site"):
        headers = {**OURS, "Sec-Fetch-Site": site_of_request}
        assert guarded.call("GET", "/queues", headers=headers).status_code in (401, 403)


def test_a_session_ends_with_its_key_and_with_a_logout(guarded: Guarded) -> None:
    guarded.log_in()
    assert guarded.call("DELETE", "/ui/session").status_code == 200
    check_refused(guarded.call("GET", "/queues"), 401, "unauthorized")
    guarded.log_in()
    keys.revoke(guarded.path, [guarded.key])
    check_refused(guarded.call("GET", "/queues"), 401, "unauthorized")


def test_a_wrong_key_begins_no_session(guarded: Guarded) -> None:
    for wrong in (guarded.key[:-1], "", "Bearer " + guarded.key, "wq_000000000000_" + "0" * 64, "\u2713"):
        reply = guarded.call("POST", "/ui/session", json={"key": wrong})
        check_refused(reply, 403, "invalid_key", "key")
        assert "set-cookie" not in reply.headers
    check_refused(guarded.call("POST", "/ui/session", json={}), 400, "missing_field", "key")
    for cookie in ({"wonderq-7979": "x"}, {"wonderq-7979": guarded.key}, {"wonderq-7979": '"\\'}):
        guarded.cookies = cookie
        check_refused(guarded.call("GET", "/queues"), 401, "unauthorized")


def test_without_keys_nobody_needs_a_session(client: TestClient) -> None:
    reply = client.simulate_post("/ui/session", json={"key": "anything"}, headers=OURS)
    assert (reply.status_code, "set-cookie" in reply.headers) == (200, False)
    assert client.simulate_get("/queues", headers={**OURS, "Cookie": "wonderq-7979=x"}).status_code == 200


def test_behind_tls_the_cookie_is_for_tls_alone(guarded: Guarded) -> None:
    headers = {**OURS, "X-Forwarded-Proto": "https", "Host": "queue.example.com"}
    reply = guarded.call("POST", "/ui/session", json={"key": guarded.key}, headers=headers)
    assert reply.cookies["__Host-wonderq"].secure
    guarded.cookies = {"__Host-wonderq": reply.cookies["__Host-wonderq"].value}
    assert guarded.call("GET", "/queues", headers=headers).status_code == 200


def test_brokers_beside_each_other_have_different_cookies() -> None:
    names = [cookie_name(host, is_secure=False) for host in ("a:1", "a:2", "a", "[::1]", "[::1]:3")]
    assert names == ["wonderq-1", "wonderq-2", "wonderq", "wonderq", "wonderq-3"]


def test_sessions_are_bounded_and_end() -> None:
    now_s = [0.0]
    sessions = Sessions(lambda: now_s[0])
    tokens = [sessions.begin("a") for _ in range(MAX_SESSIONS + 1)]
    assert sessions.key_id_of(tokens[0]) is None
    assert sessions.key_id_of(tokens[1]) == "a"
    now_s[0] = SESSION_S
    assert sessions.key_id_of(tokens[1]) is None


def test_a_large_body_needs_the_session_too(guarded: Guarded) -> None:
    """The head of such a request is checked before its body is read."""
    reply = guarded.log_in()
    cookie = f"wonderq-7979={reply.cookies['wonderq-7979'].value}"
    with serving(Broker(MemoryLog()), check_head=guarded.access.check_head) as wire:
        for headers, status in ((OURS | {"Cookie": cookie}, 201), (OURS, 401)):
            body = b'{"message": "%s"}' % (b"x" * 40_000)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"POST /messages/produce HTTP/1.1\r\n{lines}Content-Type: application/json\r\n"
            found = wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, method="POST")
            assert found.status == status


#: The calls that the buttons of the pages make, with the role for each. The queue, the message and so on may not exist.
ACTIONS: dict[tuple[str, str], tuple[str, Any]] = {
    ("PUT", "/queues/default"): ("admin", {"paused": True}),
    ("DELETE", "/queues/default"): ("admin", None),
    ("POST", "/queues/default/purge"): ("admin", None),
    ("POST", "/queues/default/redrive"): ("admin", {"dry_run": True}),
    ("DELETE", "/queues/default/redrive/x"): ("admin", None),
    ("POST", "/queues/default/redrive/messages"): ("admin", {"ids": ["x"]}),
    ("POST", "/queues/default/messages/produce"): ("produce", {"message": "x"}),
    ("POST", "/queues/default/messages/delete"): ("admin", {"ids": ["x"]}),
    ("POST", "/queues/default/messages/kick"): ("admin", {"max": 1}),
    ("PATCH", "/queues/default/messages/x"): ("admin", {"message": "y", "if_version": 1}),
    ("DELETE", "/queues/default/messages/x"): ("admin", None),
    ("PUT", "/topics/x"): ("admin", {"tags": {}}),
    ("DELETE", "/topics/x"): ("admin", None),
    ("POST", "/topics/x/publish"): ("produce", {"message": "x"}),
    ("PUT", "/topics/x/subscriptions/x"): ("admin", {"queue": "default"}),
    ("DELETE", "/topics/x/subscriptions/x"): ("admin", None),
    ("PUT", "/schedules/x"): ("admin", {"cron": "* * * * *", "queue": "default", "message": "x"}),
    ("DELETE", "/schedules/x"): ("admin", None),
}

_CALL = re.compile(r'call\((`[^`]*`|"[^"]*"|[^`",]*), \{ method: "([A-Z]+)"')


def actions_in(path: Path) -> set[tuple[str, str]]:
    """Return the calls of a script that change something, with ``x`` for what they name."""
    variable = {
        "drawer.js": "/queues/default/messages/x",
        "schedules.js": "/schedules/x",
        "topics.js": "/topics/x/subscriptions/x",
    }
    found = set()
    for named, method in _CALL.findall(path.read_text(encoding="utf-8")):
        target = variable[path.name] if named == "path" else named.strip('`"')
        target = re.sub(r"\$\{queuePath\(.*?\)\}|^queuePath\(.*\)$", "/queues/default", target)
        target = re.sub(r"\$\{topicPath\(.*?\)\}|^topicPath\(.*\)$", "/topics/x", target)
        found.add((method, re.sub(r"\$\{.*\}", "x", target)))
    return found


#: Actions of the page of a cluster, which a broker does not have. tests/cluster/test_node.py has their roles.
OF_CLUSTER = {("POST", "/cluster/x")}

#: Calls by POST that change nothing.
READS = {("POST", "/topics/x/match")}


def test_the_table_has_all_that_the_pages_can_do() -> None:
    found = set().union(*map(actions_in, OUR_FILES))
    assert found - {("POST", "/ui/session"), ("DELETE", "/ui/session")} - READS - OF_CLUSTER == ACTIONS.keys()
    methods = sum(path.read_text(encoding="utf-8").count('method: "') for path in OUR_FILES)
    calls = sum(len(_CALL.findall(path.read_text(encoding="utf-8"))) for path in OUR_FILES)
    assert methods == calls, "a call has another form"


@pytest.mark.parametrize("role", ROLES)
def test_each_action_of_the_page_is_refused_without_its_role(tmp_path: Path, role: str) -> None:
    guarded = Guarded(tmp_path)
    key = keys.create(guarded.path, name="some", roles=[role], queues=["*"])[1]  # type: ignore[list-item]
    guarded.log_in(key)
    for (method, path), (needed, body) in ACTIONS.items():
        refused = guarded.call(method, path, json=body).status_code == 403
        assert refused == (role not in ("admin", needed)), (method, path)
    for path, allowed in (
        ("/queues/default/dev/messages", ("admin", "inspect")),
        ("/search", ("admin", "inspect")),
        ("/overview", ("admin", "inspect", "look")),
    ):
        assert (guarded.call("GET", path).status_code == 403) == (role not in allowed), path


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_read_only_dashboard_refuses_each_action_of_an_admin(tmp_path: Path, action: tuple[str, str]) -> None:
    guarded = Guarded(tmp_path, ui="read-only")
    guarded.log_in()
    method, path = action
    check_refused(guarded.call(method, path, json=ACTIONS[action][1]), 403, "read_only")


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_no_action_is_done_for_the_page_of_another_site(tmp_path: Path, action: tuple[str, str]) -> None:
    guarded = Guarded(tmp_path)
    guarded.log_in()
    method, path = action
    for headers in (
        {"Host": "127.0.0.1:7979"},
        {**OURS, "Sec-Fetch-Site": "none"},
        {**OURS, "Sec-Fetch-Site": "same-site"},
        {**OURS, "Sec-Fetch-Site": "cross-site"},
        {name: value for name, value in OURS.items() if name != "X-WonderQ-UI"},
    ):
        assert guarded.call(method, path, json=ACTIONS[action][1], headers=headers).status_code in (401, 403)


def test_a_read_only_dashboard_changes_nothing_whatever_the_key(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, ui="read-only")
    assert guarded.log_in().status_code == 200
    check_refused(guarded.call("PUT", "/queues/mail", json={"paused": True}), 403, "read_only")
    assert guarded.call("GET", "/overview").json["access"]["read_only"] is True
    bearer = {"Authorization": f"Bearer {guarded.key}"}
    assert guarded.call("PUT", "/queues/mail", json={"paused": True}, headers=bearer).status_code == 201
    assert guarded.call("GET", "/overview", headers=bearer).json["access"]["read_only"] is False


def test_a_read_only_dashboard_may_try_which_subscriptions_match(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wonderq.ui")
    guarded = Guarded(tmp_path, ui="read-only")
    guarded.log_in()
    bearer = {"Authorization": f"Bearer {guarded.key}"}
    assert guarded.call("PUT", "/topics/orders", json={}, headers=bearer).status_code == 201
    before = len(caplog.records)
    assert guarded.call("POST", "/topics/orders/match", json={"message": "x"}).json == []
    assert caplog.records[before:] == [], "it is no action"
    check_refused(guarded.call("POST", "/topics/orders/publish", json={"message": "x"}), 403, "read_only")
    check_refused(guarded.call("POST", "/queues/orders/match", json={"message": "x"}), 403, "read_only")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages/consume"),
        ("GET", "/queues/mail/messages/consume"),
        ("GET", "/?Action=PurgeQueue&QueueUrl=mail"),
        ("GET", "/000000000000/mail?Action=PurgeQueue"),
        ("GET", "/queue/mail/?Action=ReceiveMessage"),
        ("PUT", "/topics/match"),
        ("DELETE", "/topics/match"),
        ("PUT", "/topics/orders/subscriptions/match"),
        ("DELETE", "/topics/orders/subscriptions/match"),
        ("PUT", "/topics/orders/match"),
    ],
)
def test_a_read_only_dashboard_takes_no_change_for_a_look(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    caplog.set_level(logging.INFO, "wonderq.ui")
    target, _, query = path.partition("?")
    for settings, code in (({"ui": "read-only"}, "read_only"), ({}, "")):
        guarded = Guarded(tmp_path / (code or "on"), **settings)
        guarded.log_in()
        before = len(caplog.records)
        reply = guarded.call(method, f"{target}?{query}", json={"queue": "mail"} if method == "PUT" else None)
        if code:
            assert (reply.status_code, code in reply.text or "may only read" in reply.text) == (403, True)
        logged = [record.getMessage() for record in caplog.records[before:] if record.name == "wonderq.ui"]
        assert [line.startswith(f"{method} {target}: {reply.status_code}") for line in logged] == [True]


def test_a_logged_action_has_the_number_of_its_messages(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wonderq.ui")
    guarded.log_in()
    produced = guarded.call("POST", "/queues/mail/messages/produce", json={"messages": ["a", "b", "c", "d"]}).json[
        "ids"
    ]
    guarded.call("PATCH", f"/queues/mail/messages/{produced[0]}", json={"bury": True})
    guarded.call("POST", "/queues/mail/messages/kick", json={"max": 10})
    guarded.call("POST", "/queues/mail/messages/delete", json={"ids": [produced[1], produced[1]]})
    guarded.call("POST", "/queues/mail/purge")
    guarded.call("POST", "/queues/mail/messages/delete", json={"ids": []})
    guarded.call("PUT", "/queues/mail", json={"paused": True})
    guarded.call("PUT", "/topics/orders", json={})
    for given, ids in (({"messages": ["a", "b"]}, 2), ({"message": "a"}, 1)):
        reply = guarded.call("POST", "/topics/orders/publish", json=given)
        assert (reply.status_code, len(reply.json.get("results", [None]))) == (201, ids)
    found = [getattr(record, "fields", {}) for record in caplog.records if record.name == "wonderq.ui"]
    counts = [(each["path"].rpartition("/")[2], each.get("messages")) for each in found[1:]]
    assert counts == [
        ("produce", 4),
        (produced[0], None),
        ("kick", 1),
        ("delete", 1),
        ("purge", 3),
        ("delete", None),
        ("mail", None),
        ("orders", None),
        ("publish", 2),
        ("publish", None),
    ]


def test_actions_are_logged(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wonderq.ui")
    guarded.log_in()
    guarded.call("GET", "/queues")
    guarded.call("POST", "/queues/default/purge")
    lines = [record for record in caplog.records if record.name == "wonderq.ui"]
    assert "POST /queues/default/purge: 200" in lines[-1].getMessage()
    assert lines[-1].getMessage().endswith(", messages: 0")
    assert lines[-1].fields["key"] == guarded.key[3:15]  # type: ignore[attr-defined]
    assert guarded.key not in caplog.text
    assert not [line for line in lines if "GET" in line.getMessage()]
