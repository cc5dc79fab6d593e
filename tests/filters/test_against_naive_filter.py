"""A compiled filter gives the same answer as a plain evaluation of its policy."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.filters import naive_filter
from wonderq.model.attributes import Attribute
from wonderq.model.filters import FilterPolicyError, Scope, Subject, compile_filter

#: Few letters and numbers, so that conditions often hold.
TEXTS = st.one_of(
    st.text("ab*\\", max_size=4), st.sampled_from(("A", "aB", "ab", "10.0.0.1", "10.0.1.1", "2001:db8::1"))
)
NUMBERS = st.one_of(st.integers(-2, 2), st.sampled_from((0.5, 1.5, 100, -100.25)))
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
NAMES = st.sampled_from(("a", "b", "c"))

PATTERNS = st.lists(st.sampled_from(("a", "b", "ab", "\\*", "\\\\", "*")), min_size=1, max_size=5).map("".join)
BOUNDS = st.one_of(
    st.tuples(st.sampled_from(("=", "<", "<=", ">", ">=")), NUMBERS).map(list),
    st.tuples(st.sampled_from((">", ">=")), NUMBERS, st.sampled_from(("<", "<=")), NUMBERS).map(list),
)


def operator(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return values.map(lambda value: {name: value})


TEXT_OPERATORS = st.one_of(operator("prefix", TEXTS), operator("suffix", TEXTS), operator("wildcard", PATTERNS))
CONDITIONS = st.one_of(
    SCALARS,
    TEXT_OPERATORS,
    operator("equals-ignore-case", TEXTS),
    operator("exists", st.booleans()),
    operator("numeric", BOUNDS),
    operator("cidr", st.sampled_from(("10.0.0.0/24", "10.0.0.0/8", "2001:db8::/32"))),
    operator("anything-but", st.one_of(TEXTS, NUMBERS, st.lists(TEXTS, min_size=1), st.lists(NUMBERS, min_size=1))),
    operator("anything-but", TEXT_OPERATORS),
)
LEAVES = st.lists(CONDITIONS, min_size=1, max_size=3)


def objects(values: st.SearchStrategy[Any], *, smallest: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, values, min_size=smallest, max_size=2)


def with_or(policies: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    alternatives = st.lists(policies, min_size=2, max_size=3)
    return st.builds(lambda policy, either: {**policy, "$or": either}, policies, alternatives)


FLAT_POLICIES = st.one_of(objects(LEAVES), with_or(objects(LEAVES)), with_or(with_or(objects(LEAVES))))
NESTED_POLICIES = st.recursive(
    objects(LEAVES), lambda inner: st.one_of(objects(st.one_of(LEAVES, inner)), with_or(inner)), max_leaves=6
)
ATTRIBUTES: st.SearchStrategy[dict[str, Attribute]] = objects(
    st.one_of(
        st.tuples(st.sampled_from(("String", "String.kind")), TEXTS),
        st.tuples(st.sampled_from(("Number", "Number.int")), NUMBERS.map(str)),
        st.tuples(st.just("Binary"), st.just(b"a")),
        st.tuples(st.just("String.Array"), st.one_of(st.lists(SCALARS).map(json.dumps), TEXTS, st.just("[[1]]"))),
    ),
    smallest=0,
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), objects(inner, smallest=0)))
BODIES = st.one_of(objects(VALUES, smallest=0).map(json.dumps), SCALARS.map(json.dumps), st.just("no JSON"))


def check(policy: dict[str, Any], scope: Scope, attributes: dict[str, Attribute], body: str) -> None:
    """Compare both answers. Policies that are refused, by a limit or for a malformed pattern, have none."""
    try:
        found = compile_filter(policy, scope)
    except FilterPolicyError:
        hypothesis.reject()
    expected = naive_filter.matches(policy, scope, attributes, body)
    assert found.accepts(Subject(attributes, body)) == expected
    assert (found.explain(Subject(attributes, body)) == "") == expected


@hypothesis.settings(max_examples=50)
@hypothesis.given(FLAT_POLICIES, ATTRIBUTES)
def test_of_attributes(policy: dict[str, Any], attributes: dict[str, Attribute]) -> None:
    check(policy, "attributes", attributes, "")


@hypothesis.settings(max_examples=50)
@hypothesis.given(NESTED_POLICIES, BODIES)
def test_of_bodies(policy: dict[str, Any], body: str) -> None:
    check(policy, "body", {}, body)


@pytest.mark.slow
@hypothesis.settings(max_examples=1_000)
@hypothesis.given(NESTED_POLICIES, BODIES)
def test_of_many_bodies(policy: dict[str, Any], body: str) -> None:
    check(policy, "body", {}, body)


@pytest.mark.slow
@hypothesis.settings(max_examples=1_000)
@hypothesis.given(FLAT_POLICIES, ATTRIBUTES)
def test_of_many_attributes(policy: dict[str, Any], attributes: dict[str, Attribute]) -> None:
    check(policy, "attributes", attributes, "")
