"""Bugs in what the dashboard may show."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MASKS = "tests/http/test_masks.py"
_STATE = "tests/http/test_broker_state.py"
MUTANTS = [
    Mutant(
        "a_preview_is_cut_before_it_is_hidden",
        "The beginning of a card number stands at the end of a preview.",
        "wonderq/model/masks.py",
        "_united(self._matches(text, end, pause))",
        "_united(self._matches(text[:end], end, pause))",
        (f"{_MASKS}::test_a_match_that_a_preview_cuts_is_hidden", _MASKS),
    ),
    Mutant(
        "an_undecided_match_is_shown",
        "A secret longer than the lookahead stands in a preview.",
        "wonderq/model/masks.py",
        "                yield min(waiting.values()), at  # to hide too much is better than too little\n",
        "",
        (f"{_MASKS}::test_a_match_that_a_preview_cuts_is_hidden",),
    ),
    Mutant(
        "a_way_forgets_where_it_began",
        "Only the end of a secret is hidden.",
        "wonderq/model/masks.py",
        "                if item in kinds and waiting.get(after[0], at) >= start:\n",
        "                if item in kinds:\n",
        (f"{_MASKS}::test_a_mask_hides_what_it_matches", _MASKS),
    ),
    Mutant(
        "a_search_reveals_what_is_hidden",
        "Who may see no card number finds it out, digit by digit.",
        "wonderq/rest/values.py",
        "    return matches if mask is None else lambda message: matches(message) and matches(hide_message(mask, message))\n",
        "    return matches\n",
        (f"{_MASKS}::test_a_search_does_not_reveal_what_is_hidden",),
    ),
    Mutant(
        "the_sign_of_a_mask_is_written",
        "Saving a message on the page replaces the card number by three dots.",
        "wonderq/rest/bodies.py",
        "    check_written(req, data)\n",
        "",
        (f"{_MASKS}::test_the_sign_is_not_written_in_place_of_the_text",),
    ),
    Mutant(
        "errors_are_not_masked",
        "An error message shows the card number that the text does not.",
        "wonderq/rest/masks.py",
        "last_failure=None if failure is None else _hide_failure(mask, failure)",
        "last_failure=failure",
        (f"{_MASKS}::test_no_call_of_the_dashboard_returns_the_secret_and_those_of_the_api_do",),
    ),
    Mutant(
        "everybody_sees_the_keys",
        "A key that may only look lists all keys and settings.",
        "wonderq/rest/broker.py",
        "is_admin = self.access is None or self.access.authorize_without_receipt(req.auth) is None",
        "is_admin = True",
        (f"{_STATE}::TestKeys::test_others_see_neither_keys_nor_settings",),
    ),
    Mutant(
        "a_search_ends_with_its_first_part",
        "A search does not find what stands late in a long queue.",
        "wonderq/rest/listing.py",
        "is_over = examined < query.examine and len(found) < query.limit",
        "is_over = len(found) < query.limit",
        ("tests/http/test_search.py",),
    ),
]
