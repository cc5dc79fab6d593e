"""Masks: what they hide in a text, in how many steps, and where the dashboard shows texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from falcon.testing import Result, TestClient
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.http_client import check_refused
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.auth.roles import RULES
from wonderq.broker.broker import Broker
from wonderq.config import ConfigError, load
from wonderq.model import masks
from wonderq.model.attributes import Attribute
from wonderq.model.failures import ReportedError
from wonderq.model.masks import LOOKAHEAD, MAX_CHARACTERS, SIGN, Mask
from wonderq.model.messages import Change, NewMessage, Target

# Patterns


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        (r"card=\d+", "x card=4111 y card=1", "x ••• y •••"),
        (r"\b\d{13,19}\b", "4111111111111111 12 41111111111111111111", "••• 12 41111111111111111111"),
        (r"(?i)password: *\S+", "PassWord:  hunter2 x", "••• x"),
        (r"[\w.+-]+@[\w-]+\.\w+", "to bob.x+y@ex.org now", "to ••• now"),
        (r'"pin": ?"[^"]*"', '{"pin": "1234", "a": "b"}', '{•••, "a": "b"}'),
        (r"(?:ab|cd)+e", "xababcdef", "x•••f"),
        (r"{x}", "a{x}b", "a•••b"),
        (r"a{2}b{,2}c{1,}", "aacc aabbcc aabbbc", "••• ••• aabbbc"),
        (r"\u00e9\x41\.\]", "éA.] é", "••• é"),
        (r"[]x]+|[^\W\d]y", "]x] 1y zy", "••• 1y •••"),
        (r"\Bb\B", "abc b", "a•••c b"),
        (r"a.c", "abc a\nc", "••• a\nc"),
        (r"(?:aa|a)b", "aab ab", "••• •••"),
    ],
)
def test_a_mask_hides_what_it_matches(pattern: str, text: str, shown: str) -> None:
    assert Mask([pattern]).hide(text) == shown


def test_several_masks_hide_what_any_of_them_matches() -> None:
    mask = Mask([r"a\d+", r"1b", r"(?i)Z"])
    assert mask.hide("a1b z 1b A1") == "••• ••• ••• A1", "those that overlap are hidden together"
    assert Mask([]).hide("a1b") == "a1b"


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "c", ".", r"\d", "[ab]", "[^a]", r"\w"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,1}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("abc1 \n", max_size=12))
def test_exactly_the_characters_of_matches_are_hidden(pattern: str, text: str) -> None:
    compiled = re.compile(pattern)
    if compiled.match(""):
        with pytest.raises(ValueError, match="empty"):
            Mask([pattern])
        return
    mask = Mask([pattern])
    hidden: set[int] = set()
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            if compiled.fullmatch(text, start, end):
                hidden |= set(range(start, end))
    expected = "".join("\0" if at in hidden else each for at, each in enumerate(text))
    assert mask.hide(text) == re.sub("\0+", SIGN, expected)


@given(PATTERNS, st.text("abc1 ", max_size=12), st.integers(0, 12))
def test_a_preview_shows_nothing_that_the_whole_text_does_not(pattern: str, text: str, most: int) -> None:
    assume(not re.compile(pattern).match(""))
    mask = Mask([pattern])
    assert mask.hide(text).startswith(mask.hide(text, most).removesuffix(SIGN))


def test_a_match_that_a_preview_cuts_is_hidden() -> None:
    mask = Mask([r"\b\d{16}\b"])
    text = "card 4111111111111111 x"
    assert mask.hide(text, 10) == "card •••"
    assert mask.hide("card 41111 x", 8) == "card 411"
    assert Mask(["a+b"]).hide("xa" + "a" * 2 * LOOKAHEAD, 5) == "x•••", "undecided, so hidden"


HOSTILE = [
    (r"(a+)+b", "a" * 5000),
    (r"(a|aa)+b", "a" * 5000),
    (r"a*a*a*a*a*b", "a" * 5000),
    (r"(\w+\s*)+:", "word " * 1000),
    (r"\d+x", "1" * 5000),
    (r"[^@]+@[^@]+x", "@a" * 2500),
    (r"(x?){30}y", "x" * 5000),
]


@pytest.mark.parametrize(("pattern", "text"), HOSTILE)
def test_no_text_takes_more_than_linear_time(pattern: str, text: str) -> None:
    """Steps are counted; with `re`, most of these would not end."""
    mask = Mask([pattern])
    turns: list[int] = []
    mask.hide(text, pause=turns.append)
    states = len(mask._states)
    assert sum(turns) <= (states + 1) * len(text)
    assert turns, "others have their turn meanwhile"
    assert max(turns) <= masks._STEPS_PER_PAUSE + states + 1


def test_passing_over_a_long_text_is_cut_into_turns_too() -> None:
    turns: list[int] = []
    assert Mask(["card"]).hide("x" * 100_000, pause=turns.append) == "x" * 100_000
    assert len(turns) >= 100_000 // masks._SKIPPED_PER_PAUSE - 1


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("card=(", "not a regular expression"),
        ("[a", "not a regular expression"),
        ("[[a]]", "not a regular expression"),
        (r"\d*", "matches the empty text"),
        (r"\b|x", "matches the empty text"),
        ("^card", "cannot have '^ca'"),
        ("card$", "cannot have '$'"),
        (r"(\d)\1", r"cannot have '\\1'"),
        ("(?=a)b", "cannot have '(?='"),
        ("(?P<a>b)", "cannot have '(?P'"),
        ("a" * (MAX_CHARACTERS + 1), "may have 500 characters"),
        ("(a{99}){99}", "too long"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_a_sentence(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)) as refused:
        load({"ui_mask": pattern}, {})
    assert str(refused.value).startswith("--ui-mask: ")


def test_the_pattern_that_cannot_be_used_is_named() -> None:
    with pytest.raises(ConfigError, match=r"in 'b\*': it matches the empty text"):
        load({"ui_mask": "a+\nb*"}, {})


def test_the_setting_has_several_values(tmp_path: Any) -> None:
    file = tmp_path / "wonderq.toml"
    file.write_text(r"""ui_mask = ['card=\d+', 'a,b']""")
    assert load({}, {}, file).ui_mask == (r"card=\d+", "a,b")
    assert load({}, {"WONDERQ_UI_MASK": "a,b\nc+"}, file).ui_mask == ("a,b", "c+")
    assert load({"ui_mask": "x\ny"}, {"WONDERQ_UI_MASK": "z"}).ui_mask == ("x", "y")


# Requests of the dashboard

SECRET = "4111222233334444"
OURS = {"X-WonderQ-UI": "1"}


class Masked:
    """A broker with a mask, and a message of it that has the secret wherever it can."""

    def __init__(self) -> None:
        self.broker = Broker(MemoryLog())
        self.client = TestClient(create_app(self.broker, mask=Mask([r"\d{16}"])))
        attributes: dict[str, Attribute] = {
            "text": ("String", f"card {SECRET}"),
            "number": ("Number", SECRET),
            "bytes": ("Binary", b"\xff" + SECRET.encode()),
        }
        new = NewMessage(f"card {SECRET} ok", attributes=attributes, group=SECRET, key=SECRET)
        self.id = self.broker.send("mail", [new]).ids[0]
        error = ReportedError(f"no {SECRET}", SECRET, f"at {SECRET}")
        self.broker.update("mail", Target(id=self.id), Change(error=error))
        schedule = {"cron": "0 0 * * *", "queue": "mail", "body": SECRET, "attributes": {"a": ("String", SECRET)}}
        self.broker.schedules.put("nightly", **schedule, group=SECRET)
        self.broker.put_queue("other")
        self.broker.topics.put("orders")
        filters = {SECRET: [SECRET, {"anything-but": ["x"]}], "n": [{"exists": True}], "m": [5, None]}
        self.broker.topics.subscribe("orders", "mine", queue="other", filter=filters)
        self.redrive = self.broker.redrives.start("mail", "other", contains=SECRET, attribute=SECRET, dry_run=True)

    def call(self, method: str, path: str, *, json: Any = None, headers: dict[str, str] | None = None) -> Result:
        path, _, query = path.partition("?")
        sent = OURS if headers is None else headers
        return self.client.simulate_request(method, path, query_string=query, json=json, headers=sent)


@pytest.fixture
def masked() -> Iterator[Masked]:
    masked = Masked()
    yield masked
    masked.broker.close()


def test_no_call_of_the_dashboard_returns_the_secret_and_those_of_the_api_do(masked: Masked) -> None:
    query = {"/dev/messages/status": "?status=unprocessed", "/dev/messages/count": "?status=unprocessed"}
    hiding = set()
    for path in RULES:
        if (
            "GET" not in RULES[path]
            or path.startswith(("/metrics", "/ui", "/sns", "/docs", "/openapi"))
            or "int(12)" in path
        ):
            continue
        real = path.format(
            queue="mail",
            message_id=masked.id,
            redrive_id=masked.redrive,
            schedule="nightly",
            name="x",
            topic="orders",
            subscription="mine",
        )
        real += query.get(path.removeprefix("/queues/{queue}"), "?cron=* * * * *" if path == "/cron/times" else "")
        if path.endswith("/messages/consume"):
            continue  # below: it changes the message
        shown, whole = masked.call("GET", real), masked.call("GET", real, headers={})
        assert shown.status_code == whole.status_code, real
        assert SECRET not in shown.text, real
        if SECRET in whole.text:
            hiding.add(path)
            assert shown.json == json.loads(shown.text)
    assert hiding == {
        "/queues/{queue}/messages/{message_id}",
        "/queues/{queue}/dev/messages",
        "/queues/{queue}/dev/messages/status",
        "/queues/{queue}/dev/messages/search",
        "/search",
        "/queues/{queue}/redrive",
        "/queues/{queue}/redrive/{redrive_id}",
        "/redrives",
        "/schedules",
        "/schedules/{schedule}",
        "/topics/{topic}/subscriptions",
        "/topics/{topic}/subscriptions/{subscription}",
    }


def test_a_claim_of_the_dashboard_hides_it_too(masked: Masked) -> None:
    for call, path, body in (("GET", "consume", None), ("POST", "next", {})):
        reply = masked.call(call, f"/queues/mail/messages/{path}", json=body)
        assert (reply.status_code, SECRET in reply.text, SIGN in reply.text) == (200, False, True)
        masked.broker.update("mail", Target(id=masked.id), Change(visibility_timeout_ms=0))


def test_a_message_tells_that_parts_are_hidden(masked: Masked) -> None:
    [plain] = masked.broker.produce("mail", ["nothing to hide"])
    assert masked.call("GET", f"/queues/mail/messages/{masked.id}").json["masked"] is True
    assert masked.call("GET", "/schedules/nightly").json["masked"] is True
    assert "masked" not in masked.call("GET", f"/queues/mail/messages/{plain}").json
    assert "masked" not in masked.call("GET", f"/queues/mail/messages/{masked.id}", headers={}).json


def test_a_dry_run_and_a_filter_hide_it(masked: Masked) -> None:
    message = {"message": "x", "attributes": {SECRET: "x"}}
    for headers, is_hidden in ((None, True), ({}, False)):
        found = masked.call("POST", "/topics/orders/match", json=message, headers=headers)
        assert (SECRET not in found.text) == is_hidden
    subscription = "/topics/orders/subscriptions/mine"
    shown = masked.call("GET", subscription).json
    assert shown["masked"] is True
    assert shown["filter"] == {SIGN: [SIGN, {"anything-but": ["x"]}], "n": [{"exists": True}], "m": [5, None]}


def test_a_listing_that_cuts_texts_hides_first(masked: Masked) -> None:
    [found] = masked.call("GET", "/queues/mail/dev/messages?preview=12").json
    assert (found["message"], found["full_length"]) == ("card •••", len(f"card {SECRET} ok"))


@pytest.mark.parametrize("path", ["dev/messages?", "dev/messages/search?"])
@pytest.mark.parametrize(
    "guess", ["contains=card%204", f"contains={SECRET}", f"attribute=number={SECRET}", f"group={SECRET}"]
)
def test_a_search_does_not_reveal_what_is_hidden(masked: Masked, path: str, guess: str) -> None:
    def found(headers: dict[str, str] | None, filters: str) -> int:
        value = masked.call("GET", f"/queues/mail/{path}{filters}", headers=headers).json
        return len(value["messages"] if isinstance(value, dict) else value)

    assert found({}, guess) == 1
    assert found(None, guess) == 0
    assert found(None, "contains=card") == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/queues/mail/messages/ID", {"message": f"card {SIGN} ok"}),
        ("PATCH", "/queues/mail/messages/ID", {"attributes": {"a": SIGN}}),
        ("PATCH", f"/queues/mail/messages/ID?message={SIGN}", None),
        ("POST", "/queues/mail/messages/produce", {"message": SIGN}),
        ("POST", "/queues/mail/messages/produce", {"messages": [{"message": "x", "group": SIGN}]}),
        ("POST", "/queues/mail/messages/update", {"entries": [{"id": "ID", "message": SIGN}]}),
        ("PUT", "/schedules/nightly", {"message": SIGN}),
    ],
)
def test_the_sign_is_not_written_in_place_of_the_text(masked: Masked, method: str, path: str, body: Any) -> None:
    path = path.replace("ID", masked.id)
    body = json.loads(json.dumps(body).replace("ID", masked.id))
    check_refused(masked.call(method, path, json=body), 400, "masked_text")
    assert masked.broker.get("mail", masked.id).body == f"card {SECRET} ok"
    assert masked.broker.schedules.get("nightly").body == SECRET
    assert masked.broker.count("mail", "unprocessed") == 1
    assert masked.call(method, path, json=body, headers={}).status_code in (200, 201), "the API may write anything"


@pytest.mark.parametrize("sign", [r"\u2022\u2022\u2022", r"\u2022•\u2022", "•••"])
def test_the_sign_is_found_however_json_writes_it(masked: Masked, sign: str) -> None:
    def written(text: str) -> Result:
        headers = {**OURS, "Content-Type": "application/json"}
        body = f'{{"message": "{text}"}}'
        return masked.client.simulate_post("/queues/mail/messages/produce", body=body, headers=headers)

    check_refused(written(f"x{sign}"), 400, "masked_text")
    assert written(r"\u2022\u2022").status_code == 201, "two are no sign"
    assert written(r"\\u2022\\u2022\\u2022").status_code == 201, "this is no escape"


def test_without_a_mask_nothing_is_hidden_or_refused() -> None:
    client = TestClient(create_app(Broker(MemoryLog())))
    sent = client.simulate_post("/messages/produce", json={"message": f"{SIGN} {SECRET}"}, headers=OURS)
    assert sent.status_code == 201
    assert client.simulate_get(f"/messages/{sent.json['id']}", headers=OURS).json["message"] == f"{SIGN} {SECRET}"


def test_the_reason_of_a_dead_letter_is_hidden_too(masked: Masked) -> None:
    masked.broker.put_queue("jobs", dead_letter_queue="dead")
    [message_id] = masked.broker.produce("jobs", ["x"])
    masked.broker.update("jobs", Target(id=message_id), Change(dead=True, error=ReportedError(f"{SECRET} refused")))
    [whole] = masked.call("GET", "/queues/dead/dev/messages", headers={}).json
    [shown] = masked.call("GET", "/queues/dead/dev/messages").json
    assert SECRET in whole["dead_letter"]["reason"]
    assert shown["dead_letter"]["reason"] == whole["dead_letter"]["reason"].replace(SECRET, SIGN)
    assert shown["last_error"]["message"] == f"{SIGN} refused"
