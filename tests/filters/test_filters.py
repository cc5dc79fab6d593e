"""Filters match as the documentation of SNS says, and explain themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wonderq.model.attributes import Attribute
from wonderq.model.filters import Filter, Subject, compile_filter

#: The message in the documentation of SNS.
ORDER: dict[str, Attribute] = {
    "customer_interests": ("String.Array", '["soccer", "rugby", "hockey"]'),
    "store": ("String", "example_corp"),
    "event": ("String", "order_placed"),
    "price_usd": ("Number", "210.75"),
}


def on_attributes(policy: object) -> Filter:
    return compile_filter(policy, "attributes")


def on_body(policy: object) -> Filter:
    return compile_filter(policy, "body")


def test_every_key_must_match() -> None:
    policy: dict[str, Any] = {
        "store": ["example_corp"],
        "event": [{"anything-but": "order_cancelled"}],
        "customer_interests": ["rugby", "football", "baseball"],
        "price_usd": [{"numeric": [">=", 100]}],
    }
    assert on_attributes(policy).accepts(Subject(ORDER, ""))
    for key, other in {"store": ["another"], "customer_interests": ["chess"], "encrypted": [False]}.items():
        assert not on_attributes({**policy, key: other}).accepts(Subject(ORDER, ""))


# One condition: the values that it matches, and those that it does not.
CASES = [
    ("rugby", ["rugby", ["tennis", "rugby"]], ["Rugby", "rugby ", 1, None, []]),
    (301.5, [301.5, 3.015e2, [1, 301.5]], ["301.5", 301.50002, True]),
    (301.5, [301.500004], [301.50001]),
    (1, [1.0], [True, "1"]),
    (True, [True, [False, True]], ["true", 1, False]),
    (False, [False], [0, None]),
    (None, [None, [None]], ["", 0, False, []]),
    ({"prefix": "bas"}, ["basket", "bas"], ["ba", "abas", 1]),
    ({"suffix": "ball"}, ["baseball", "ball"], ["balls", 1]),
    ({"equals-ignore-case": "Tennis"}, ["tennis", "TENNIS"], ["tenni", "tennis!"]),
    ({"equals-ignore-case": "İ"}, ["İ", "i̇"], ["i"]),  # the small letter is longer
    ({"wildcard": "*ball"}, ["ball", "baseball"], ["balls"]),
    ({"wildcard": "a*b*c"}, ["abc", "a-b-c", "abbbc"], ["ac", "ab", "acb", "cabc"]),
    ({"wildcard": "ab*ba"}, ["abba", "ab-ba"], ["aba"]),  # the ends do not overlap
    ({"wildcard": "a*b*b"}, ["abb", "a-b-b"], ["a-b", "a--b"]),  # nor does the middle overlap the end
    ({"wildcard": "*aa*aa*"}, ["aaaa"], ["aaa"]),
    ({"wildcard": "a\\*\\\\b"}, ["a*\\b"], ["a-b", "a*b"]),
    ({"anything-but": "rugby"}, ["tennis", ["rugby", "tennis"], 5, None], ["rugby", ["rugby"], []]),
    ({"anything-but": ["rugby", "tennis"]}, ["chess"], ["rugby", "tennis", ["tennis", "rugby"]]),
    ({"anything-but": [100, 500]}, [101, 100.1, [100, 50], "100"], [100, 500.000001, [500]]),
    ({"anything-but": {"prefix": "order-"}}, ["data", 1, True], ["order-1", "order-"]),
    ({"anything-but": {"suffix": "ball"}}, ["ballet"], ["football"]),
    ({"anything-but": {"wildcard": "*a*"}}, ["b"], ["bab"]),
    ({"numeric": ["=", 301.5]}, [301.5], ["301.5", 301]),
    ({"numeric": ["<", 0]}, [-1, -0.00001], [0, 0.1, "-1"]),
    ({"numeric": ["<=", 0]}, [0, -1], [0.00001]),
    ({"numeric": [">", 0, "<=", 150]}, [150, 0.1, 1], [0, 150.00001, -1]),
    ({"numeric": [">=", 0, "<", 150]}, [0, 149.99999], [-0.00001, 150]),
    ({"numeric": [">", 0]}, [5e12, 10**400], []),  # greater than a policy may name
    ({"exists": True}, ["", 0, None, False, [1]], [[], {}, {"a": 1}]),
    ({"exists": False}, [[], {}, {"a": 1}], ["", None, [None]]),
    ({"cidr": "10.0.0.0/24"}, ["10.0.0.0", "10.0.0.255"], ["10.0.1.0", "10.0.0", "::10.0.0.1", "10.0.0.1 ", 10]),
    ({"cidr": "10.0.0.7/24"}, ["10.0.0.1"], ["10.0.1.7"]),
    ({"cidr": "2001:db8::/32"}, ["2001:db8::1"], ["2001:db9::1", "10.0.0.1", "2001:db8::1%eth0"]),
]


@pytest.mark.parametrize(("condition", "good", "bad"), CASES, ids=lambda each: json.dumps(each)[:40])
def test_a_condition(condition: object, good: list[object], bad: list[object]) -> None:
    found = on_body({"key": [condition]})
    for value in good:
        assert found.accepts(Subject({}, json.dumps({"key": value}))), value
    for value in bad:
        assert not found.accepts(Subject({}, json.dumps({"key": value}))), value


def test_one_of_several_conditions_is_enough() -> None:
    found = on_body({"key": ["a", {"prefix": "b"}, 5, None]})
    assert [found.accepts(Subject({}, json.dumps({"key": value}))) for value in ("a", "bc", 5, None, "c", 6)] == [
        *[True] * 4,
        *[False] * 2,
    ]


def test_a_missing_key() -> None:
    for condition in (None, "", {"anything-but": "a"}, {"exists": True}):
        assert not on_attributes({"missing": [condition]}).accepts(Subject(ORDER, ""))
        assert not on_body({"missing": [condition]}).accepts(Subject({}, "{}"))
    assert on_attributes({"missing": [{"exists": False}]}).accepts(Subject({}, ""))
    assert on_body({"missing": ["a", {"exists": False}]}).accepts(Subject({}, "{}"))


ATTRIBUTES: dict[str, Attribute] = {
    "text": ("String", "5"),
    "labelled": ("String.color", "red"),
    "number": ("Number", "5e0"),
    "whole": ("Number.int", "7"),
    "array": ("String.Array", '["a", 5, true, null]'),
    "nested": ("String.Array", '["a", ["b"]]'),
    "broken": ("String.Array", "a"),
    "binary": ("Binary", b"5"),
}


@pytest.mark.parametrize(
    ("key", "conditions", "expected"),
    [
        ("text", [5], False),
        ("text", ["5"], True),
        ("labelled", ["red"], True),
        ("number", [5], True),
        ("number", ["5", "5e0"], False),
        ("number", [{"numeric": [">", 4.5, "<", 5.5]}], True),
        ("whole", [7], True),
        ("array", ["a"], True),
        ("array", [5], True),
        ("array", [True], True),
        ("array", [None], True),
        ("array", ["b", False], False),
        ("array", [{"exists": True}], True),
        ("nested", [{"exists": False}], True),
        ("broken", [{"exists": False}], True),
        ("binary", [{"exists": False}], True),
    ],
)
def test_types_of_attributes(key: str, conditions: list[object], expected: bool) -> None:
    assert on_attributes({key: conditions}).accepts(Subject(ATTRIBUTES, "")) == expected


def test_alternatives_with_or() -> None:
    found = on_body(
        {
            "source": ["cloud"],
            "$or": [{"name": ["cpu"]}, {"kind": ["metric"], "$or": [{"id": [1]}, {"space": [2]}]}],
        }
    )
    good = [
        {"source": "cloud", "name": "cpu"},
        {"source": "cloud", "kind": "metric", "id": 1},
        {"source": "cloud", "kind": "metric", "space": 2},
    ]
    bad = [{"name": "cpu"}, {"source": "cloud"}, {"source": "cloud", "kind": "metric"}, {"source": "cloud", "id": 1}]
    assert all(found.accepts(Subject({}, json.dumps(each))) for each in good)
    assert not any(found.accepts(Subject({}, json.dumps(each))) for each in bad)


@pytest.mark.parametrize("value", [["a"], ["a", "b"], [{"prefix": "a"}, {"suffix": "b"}]])
def test_or_is_a_key_like_any_other_if_it_does_not_hold_alternatives(value: list[object]) -> None:
    found = on_body({"$or": value})
    assert found.accepts(Subject({}, json.dumps({"$or": "a"})))
    assert not found.accepts(Subject({}, json.dumps({"a": "a"})))


def test_nested_keys() -> None:
    found = on_body({"store": {"city": {"name": ["Rome"]}, "open": [True]}})
    assert found.accepts(Subject({}, '{"store": {"city": {"name": "Rome"}, "open": true}}'))
    for other in ('{"store": {"city": {"name": "Rome"}}}', '{"store": {"city": "Rome"}}', '{"store": 1}', "{}"):
        assert not found.accepts(Subject({}, other))
    absent = on_body({"store": {"city": [{"exists": False}]}})
    assert all(absent.accepts(Subject({}, body)) for body in ("{}", '{"store": 1}', '{"store": {}}'))
    assert not absent.accepts(Subject({}, '{"store": {"city": "Rome"}}'))


def test_all_keys_match_in_one_object_of_a_list() -> None:
    found = on_body({"Records": {"event": [{"prefix": "Created"}], "file": {"key": [{"prefix": "auto"}]}}})

    def records(*pairs: tuple[str, str]) -> str:
        return json.dumps({"Records": [[{"event": event, "file": [{"key": key}]}] for event, key in pairs]})

    assert found.accepts(Subject({}, records(("Removed", "home"), ("Created", "auto"))))
    assert not found.accepts(Subject({}, records(("Removed", "auto"), ("Created", "home"))))
    assert not found.accepts(Subject({}, records()))


@pytest.mark.parametrize("body", ["", "no JSON", "[]", '["a"]', "1", '{"a": 1} x', '{"a": NaN}', '{"a": 1', "[" * 5000])
def test_a_body_that_is_no_object_does_not_match(body: str) -> None:
    assert not on_body({"a": [{"exists": False}]}).accepts(Subject({}, body))
    assert (
        on_body({"a": [{"exists": False}]})
        .explain(Subject({}, body))
        .endswith("the body of the message is not a JSON object.")
    )


def test_an_empty_policy_matches_everything() -> None:
    assert on_body({}).accepts(Subject({}, "no JSON"))
    assert on_attributes({}).accepts(Subject({}, ""))


def test_size() -> None:
    assert on_body({"a": [1, 2], "b": {"c": [3]}, "$or": [{"d": [4]}, {"e": [5, 6]}]}).size == 6


@pytest.mark.parametrize(
    ("policy", "body", "expected"),
    [
        ({"a": ["x"]}, "{}", 'The key "a" is missing or has no value, and the filter needs "x".'),
        ({"a": ["x", 1]}, '{"a": 5}', 'The key "a" is 5, and the filter needs one of ["x", 1].'),
        ({"a": {"b": ["x"]}}, '{"a": {"b": ["y", 1.5]}}', 'The key "a.b" is ["y", 1.5], and the filter needs "x".'),
        ({"a": {"b": ["x"]}}, '{"a": [{}, {}]}', 'No object in the list "a" matches all keys of the filter.'),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, "{}", "No alternative of the filter's $or matches."),
        ({"c": {"$or": [{"a": [1]}, {"b": [2]}]}}, "{}", 'No alternative of the filter\'s $or of "c" matches.'),
        (
            {"a": {"b": ["x"]}, "c": [1]},
            '{"a": {"b": "x"}}',
            'The key "c" is missing or has no value, and the filter needs 1.',
        ),
        ({"a": ["x"]}, '{"a": "\\ud800"}', 'The key "a" is "\ufffd", and the filter needs "x".'),
        ({"a": ["x"], "b": {"c": [1]}, "$or": [{"d": [1]}, {"e": [2]}]}, '{"a": "x", "b": {"c": 1}, "e": 2}', ""),
    ],
)
def test_an_explanation(policy: object, body: str, expected: str) -> None:
    assert on_body(policy).explain(Subject({}, body)) == expected


def test_an_explanation_names_the_attribute() -> None:
    expected = 'The attribute "price_usd" is 210.75, and the filter needs {"numeric": ["<", 5]}.'
    assert on_attributes({"price_usd": [{"numeric": ["<", 5]}]}).explain(Subject(ORDER, "")) == expected


LARGE = [
    {"key": [{"list": [1, -2.5, "text", True, None, {}], "number": each} for each in range(2000)]},
    {"key": "x" * 100_000},
    {"other": "\u20ac\\" * 20_000, "key": [[], [[]], "x"]},
]


@pytest.mark.parametrize("index", range(len(LARGE)))
def test_a_large_body_is_decoded_in_turns(index: int) -> None:
    steps: list[int] = []
    subject = Subject({}, json.dumps(LARGE[index], indent=1), steps.append)
    assert subject.body == LARGE[index]
    assert max(steps, default=0) < 1000


@pytest.mark.parametrize(
    "body",
    [
        '{"a": 1,}',
        '{"a" 1}',
        '{a": 1}',
        '{"a": [1 2]}',
        '{"a": [1,]}',
        '{"a": 1} x',
        '{"a": NaN}',
        '{"a": "\n"}',
        '{"a"',
    ],
)
def test_a_large_body_that_is_no_json(body: str) -> None:
    assert Subject({}, " " * 100_000 + body).body is None


def test_evaluation_takes_turns() -> None:
    steps: list[int] = []
    subject = Subject({}, json.dumps({"key": ["x" * 5000] * 500}), steps.append)
    assert not on_body({"key": [{"wildcard": "*y*z*"}, {"anything-but": {"prefix": "x"}}]}).accepts(subject)
    assert sum(steps) > 500 * 10
    assert max(steps) < 1000


@pytest.mark.parametrize("depth", [1, 20])
def test_an_explanation_takes_the_steps_of_one_evaluation_in_turns(depth: int) -> None:
    """Also of nested objects, and however long the texts are that it could repeat."""
    policy: dict[str, Any] = {"key": [{"wildcard": "*y*z*"}, {"prefix": "y"}]}
    body: dict[str, Any] = {"key": ["x" * 5000] * 500}
    for _ in range(depth):
        policy, body = {"in": policy}, {"in": body}
    steps: dict[str, list[int]] = {"accepts": [], "explain": []}
    for name, counts in steps.items():
        subject = Subject({}, json.dumps(body), counts.append)
        assert not on_body(policy).accepts(subject) if name == "accepts" else on_body(policy).explain(subject)
    assert max(steps["explain"]) < 1000
    assert sum(steps["explain"]) < sum(steps["accepts"]) + 1000


def test_an_explanation_shows_the_beginnings_of_long_values(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    dumps = json.dumps

    def noted(value: object, **options: Any) -> str:
        shown.append(len(text := dumps(value, **options)))
        return text

    subject = Subject({}, dumps({"key": ["x" * 100_000] * 100}))
    found = on_body({"key": [{"anything-but": {"prefix": "x" * 100_000}}]})
    monkeypatch.setattr(json, "dumps", noted)
    assert len(found.explain(subject)) < 300
    assert sum(shown) < 3000


def test_elements_of_an_attribute_are_looked_at_in_turns() -> None:
    steps: list[int] = []
    subject = Subject({"list": ("String.Array", json.dumps([1] * 300_000))}, "", steps.append)
    assert len(subject.attributes["list"]) == 300_000
    assert sum(steps) > 2.5 * 300_000
    assert max(steps) < 1000


def test_a_wildcard_takes_linear_time() -> None:
    """A pattern that regular expressions would try in many ways: the test would not end."""
    found = on_body({"key": [{"wildcard": "*a*a*b"}]})
    assert not found.accepts(Subject({}, json.dumps({"key": "a" * 1_000_000})))
