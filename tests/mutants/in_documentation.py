"""Bugs in what the broker says of itself, and in what its errors repeat."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ROLES = "wonderq/auth/roles.py"
MUTANTS = [
    Mutant(
        "roles_are_left_out_of_the_document",
        "The document does not state which role a call needs.",
        "wonderq/openapi/document.py",
        '[{"bearer": [role]}, {}]',
        '[{"bearer": []}, {}]',
        ("tests/http/test_openapi.py::test_each_call_names_the_role_that_it_needs",),
    ),
    Mutant(
        "a_code_is_left_out_of_the_document",
        "A generated client does not know an error that it gets.",
        "wonderq/openapi/message_operations.py",
        '            "not_claimed",\n',
        "",
        ("tests/http/test_openapi.py::test_errors_are_as_described",),
    ),
    Mutant(
        "the_page_may_load_anything_of_the_broker",
        "The policy of the page forbids less than it could.",
        "wonderq/openapi/page.py",
        "default-src 'none'",
        "default-src 'self'",
        ("tests/http/test_docs_page.py::test_its_policy_allows_its_style_and_its_script_and_nothing_else",),
    ),
    Mutant(
        "the_page_needs_a_key",
        "A client without a key cannot read the documentation, which describes how to get one.",
        _ROLES,
        '"/docs": {"GET": "anybody"}',
        '"/docs": {"GET": "inspect"}',
        ("tests/http/test_access.py::test_each_call_is_for_those_in_the_table",),
    ),
    Mutant(
        "long_names_come_back",
        "An error repeats all that a client sent.",
        "wonderq/rest/bodies.py",
        "            name = name[:_NAME_CHARACTERS]  # noqa: PLW2901\n",
        "",
        ("tests/http/test_bad_input.py::TestQueries::test_a_long_name_given_twice_is_not_repeated_in_full",),
    ),
]
