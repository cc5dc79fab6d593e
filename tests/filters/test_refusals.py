"""Policies that are malformed or exceed a limit are refused, with a sentence that names the key and a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wonderq.model.filters import FilterPolicyError, Scope, Subject, compile_filter


def refusal(policy: object, scope: Scope = "body") -> str:
    with pytest.raises(FilterPolicyError) as caught:
        compile_filter(policy, scope)
    return str(caught.value)


#: Policies, and the beginnings of their refusals. Most are those of SNS, which LocalStack's tests have recorded.
REFUSED: list[tuple[object, str]] = [
    ([], "Filter policy must be a JSON object"),
    ("text", "Filter policy must be a JSON object"),
    ({"key": "value"}, '"key" must be an object or an array'),
    ({"key": None}, '"key" must be an object or an array'),
    ({"key": {"suffix": "value"}}, '"suffix" must be an object or an array'),
    ({"key": []}, "Empty arrays are not allowed"),
    ({"key": {}}, "Empty objects are not allowed"),
    ({"key": [["value"]]}, "Match value must be String, number, true, false, or null"),
    ({"key": [{"wrong-operator": True}]}, "Unrecognized match type wrong-operator"),
    ({"key": [{"suffix": "a", "prefix": "b"}]}, "Only one key allowed in match expression"),
    ({"key": [{}]}, "Only one key allowed in match expression"),
    *[({"key": [{name: 100}]}, f"{name} match pattern must be a string") for name in ("prefix", "suffix", "wildcard")],
    ({"key": [{"equals-ignore-case": None}]}, "equals-ignore-case match pattern must be a string"),
    ({"key": [{"cidr": ["10.0.0.0/8"]}]}, "cidr match pattern must be a string"),
    *[
        ({"key": [{"cidr": text}]}, "Malformed CIDR")
        for text in ("10.0.0.0", "10.0.0.0/33", "ten/8", "", "fe80::%eth0/64", "10.0.0.0/255.0.0.0.0")
    ],
    ({"key": [{"exists": None}]}, "exists match pattern must be either true or false"),
    ({"key": [{"exists": "no"}]}, "exists match pattern must be either true or false"),
    ({"key": [{"exists": 1}]}, "exists match pattern must be either true or false"),
    ({"key": [{"anything-but": {"wrong": None}}]}, "Unsupported anything-but pattern: wrong"),
    ({"key": [{"anything-but": {"exists": False}}]}, "Unsupported anything-but pattern: exists"),
    ({"key": [{"anything-but": {}}]}, "Unsupported anything-but pattern"),
    ({"key": [{"anything-but": {"prefix": False}}]}, "prefix match pattern must be a string"),
    *[
        ({"key": [{"anything-but": value}]}, "Value of anything-but must be strings or numbers")
        for value in ([], None, True, ["a", 1], [True], [1, False], ["a", None], [["a"]])
    ],
    ({"key": [{"numeric": []}]}, "Invalid member in numeric match"),
    ({"key": [{"numeric": 5}]}, "Invalid member in numeric match"),
    ({"key": [{"numeric": ["operator", 1]}]}, 'Unrecognized numeric range operator: "operator"'),
    ({"key": [{"numeric": [1, "<="]}]}, "Unrecognized numeric range operator: 1"),
    ({"key": [{"numeric": ["=", "000"]}]}, "Value of = must be numeric"),
    ({"key": [{"numeric": ["=", True]}]}, "Value of = must be numeric"),
    ({"key": [{"numeric": [">="]}]}, "Invalid member in numeric match"),
    ({"key": [{"numeric": ["<", 100, ">", 10]}]}, "Bad numeric range operator"),
    ({"key": [{"numeric": [">=", 1, ">", 2]}]}, "Bad numeric range operator"),
    ({"key": [{"numeric": ["=", 1, "<", 2]}]}, "Bad numeric range operator"),
    ({"key": [{"numeric": [">", 3, "<", 1]}]}, "Bottom must be less than top"),
    ({"key": [{"numeric": [">=", 1, "<=", 1]}]}, "Bottom must be less than top"),
    ({"key": [{"numeric": [">", 20, "<", 30, "<", 50]}]}, "Invalid member in numeric match"),
    ({"key": [{"numeric": [">", 1_000_000_001]}]}, "Value is out of range"),
    ({"key": [-1e10]}, "Value is out of range"),
    ({"key": [float("nan")]}, "Value is out of range"),
    ({"key": [{"wildcard": "a**b"}]}, "Consecutive wildcard characters"),
    ({"key": [{"wildcard": "a\\b"}]}, "Invalid escape character"),
    ({"key": [{"wildcard": "a\\"}]}, "Invalid escape character"),
    ({"key": [{"wildcard": "a*b*c*d*"}]}, "A pattern may have 3 wildcards"),
    ({str(each): ["a"] for each in range(6)}, "Filter policy can not have more than 5 keys"),
    ({"$or": [{"a": [1]}, {"b": 1}]}, '"b" must be an object or an array'),
]


@pytest.mark.parametrize(("policy", "beginning"), REFUSED, ids=lambda each: json.dumps(each)[:50])
def test_a_refusal(policy: object, beginning: str) -> None:
    text = refusal(policy)
    assert text.startswith(beginning)
    if isinstance(policy, dict) and "key" in policy and not text.startswith('"suffix"'):
        assert '"key"' in text
    assert (text[-1] in ".]}" and ". " in text) or ": " in text or ", such as" in text


def test_keys_of_attributes_are_not_nested() -> None:
    policy = {"a": {"b": ["c"]}}
    assert refusal(policy, "attributes").startswith("Filter policy scope MessageAttributes does not support nested")
    compile_filter(policy, "body")


def nested(depth: int, leaf: object) -> dict[str, Any]:
    return {"key": leaf} if depth == 1 else {"key": nested(depth - 1, leaf)}


#: Policies with as many combinations as are allowed, and with more. Examples of the documentation and of LocalStack.
LARGEST: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": list(range(150))}, {"a": list(range(151))}),
    ({"a": list(range(50)), "b": [1, 2, 3]}, {"a": list(range(51)), "b": [1, 2, 3]}),
    (nested(3, list(range(50))), nested(3, list(range(51)))),
    (
        {"a": nested(2, [1, 2, 3, 4]), "b": nested(1, [1, 2, 3])},
        {"a": nested(2, [1, 2, 3, 4]), "b": nested(2, [1, 2, 3, 4, 5])},
    ),
    (
        {"source": [1, 2, 3], "$or": [{"a": [1] * 6}, {"b": [1] * 4, "$or": [{"c": [1] * 4}, {"d": [1] * 7}]}]},
        {"source": [1] * 4, "$or": [{"a": [1] * 6}, {"b": [1] * 4, "$or": [{"c": [1] * 4}, {"d": [1] * 4}]}]},
    ),
    (
        {"$or": [{"a": [1] * 3}, {"b": [1] * 2}], "c": {"d": [1] * 2, "$or": [{"e": [1]}, {"f": [1] * 2}]}},
        {"$or": [{"a": [1] * 3}, {"b": [1] * 2}], "c": {"d": [1] * 2, "$or": [{"e": [1]}, {"f": [1] * 3}]}},
    ),
    (nested(150, [1]), nested(151, [1])),
]


@pytest.mark.parametrize("index", range(len(LARGEST)))
def test_combinations(index: int) -> None:
    allowed, refused = LARGEST[index]
    compile_filter(allowed, "body").accepts(Subject({}, "{}"))
    assert refusal(refused).startswith("Filter policy is too complex")


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"a": ["*/x/*"] * 4}, {"a": ["*/x/*"] * 5}),  # 24 x 4 = 96 points, and 30 x 5 = 150
        ({"a": ["x*"] * 10}, {"a": ["x*"] * 11}),
        ({"a": ["x*"] * 7, "b": ["x*"] * 7}, {"a": ["x*"] * 8, "b": ["x*"] * 7}),
        ({"a": ["x"] * 20}, {"a": ["*x*x*"] * 4}),
    ],
)
def test_points_of_wildcards(allowed: dict[str, list[str]], refused: dict[str, list[str]]) -> None:
    for is_nested in (False, True):
        policies = [
            {key: [{"wildcard": each} for each in patterns] for key, patterns in given.items()}
            for given in (allowed, refused)
        ]
        good, bad = [{"$or": [policy, {"z": [1]}]} if is_nested else policy for policy in policies]
        compile_filter(good, "body")
        assert "wildcards" in refusal(bad)


def test_parts_of_a_policy() -> None:
    """Keys in an alternative have one combination, however many they are."""
    many = {str(each): [1] for each in range(1000)}
    assert refusal({"$or": [many, {"a": [1]}]}).startswith("Filter policy is too complex")
    del many["0"], many["1"], many["2"]  # 2 * 997 parts, and 6 of the rest
    compile_filter({"$or": [many, {"a": [1]}]}, "body")
    many["0"] = [1]
    assert "more than 2000 keys" in refusal({"$or": [many, {"a": [1]}]})


def test_bytes_of_a_policy() -> None:
    compile_filter({"key": ["x" * 262_131]}, "body")
    assert refusal({"key": ["x" * 262_132]}).startswith("Filter policy has 262145 bytes")


def test_the_deepest_alternatives_can_be_evaluated() -> None:
    policy: dict[str, Any] = {"a": [1]}
    for _ in range(149):
        policy = {"$or": [{"b": [1]}, policy]}
    found = compile_filter(policy, "body")
    assert found.accepts(Subject({}, '{"a": 1}'))
    assert found.explain(Subject({}, "{}")) == "No alternative of the filter's $or matches."
    assert "too complex" in refusal({"$or": [{"b": [1]}, policy]})


def test_deep_nesting_is_refused() -> None:
    policy: dict[str, Any] = {"a": [1]}
    for _ in range(3000):
        policy = {"$or": [policy, {"b": [1]}]}
    assert "too" in refusal(policy)


def test_a_sentence_repeats_only_the_beginning_of_a_value() -> None:
    policies: list[object] = [
        {"key": [{"numeric": ["x" * 10_000, 1]}]},
        {"x" * 10_000: ["a", {"prefix": 1}]},
        {"x" * 10_000: "a"},
        {"x" * 10_000: []},
        {"x" * 10_000: {}},
        {"x" * 10_000: [1] * 151},
    ]
    for policy in policies:
        assert len(refusal(policy)) < 500
