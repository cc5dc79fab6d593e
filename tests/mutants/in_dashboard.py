"""Bugs in what the dashboard may show."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_MASKS = "tests/http/test_masks.py"
_STATE = "tests/http/test_broker_state.py"
_SEARCH = "tests/http/test_search.py"
_SHARED = "tests/http/test_shared_answers.py"
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
    Mutant(
        "a_search_in_all_queues_forgets_the_key",
        "A key for one queue reads the messages of all.",
        "wonderq/broker/queries.py",
        "len(queue.messages) and permits(queue.name)",
        "len(queue.messages)",
        (f"{_SEARCH}::test_a_search_in_all_queues_has_only_those_of_the_key",),
    ),
    Mutant(
        "a_search_in_all_queues_begins_each_queue_in_the_middle",
        "A search misses the oldest messages of all queues but the first.",
        "wonderq/broker/queries.py",
        "start = sequence if queue.number == first else -1",
        "start = sequence",
        (f"{_SEARCH}::test_a_message_is_found_without_its_queue",),
    ),
    Mutant(
        "a_period_has_its_end",
        "Messages of midnight are of both days.",
        "wonderq/model/times.py",
        "at_ms < self.until_ms",
        "at_ms <= self.until_ms",
        (f"{_SEARCH}::test_a_period_has_its_beginning_and_not_its_end",),
    ),
    Mutant(
        "what_came_at_other_times_ends_a_list",
        "A list of a period is empty if the first 500 messages came before it.",
        "wonderq/broker/queries.py",
        "            if not passed:\n                return []",
        "            if not views:\n                return []",
        (f"{_SEARCH}::test_a_period_is_found_behind_many_others",),
    ),
    Mutant(
        "the_newest_page_is_read_forwards",
        "The second page of the newest messages repeats the first.",
        "wonderq/state/message_table.py",
        "        for page in reversed(self._pages.values()):\n            if page.first >= sequence or not page.live:\n"
        "                continue\n            index = min(page.index(sequence), len(page.status))",
        "        for page in reversed(self._pages.values()):\n            if page.first >= sequence or not page.live:\n"
        "                continue\n            index = len(page.status)",
        (f"{_SEARCH}::test_the_newest_come_first_and_pages_lead_both_ways", "tests/broker/test_columns.py"),
    ),
    Mutant(
        "answers_are_shared_with_everybody",
        "A key for one queue gets the list that was made for the admin.",
        "wonderq/rest/queues.py",
        "self._answers.respond(req, resp, self._opened_by(req), answer)",
        "self._answers.respond(req, resp, None, answer)",
        (f"{_SHARED}::test_an_answer_is_not_for_a_key_that_sees_something_else",),
    ),
    Mutant(
        "an_overview_is_shared_with_everybody",
        "The dashboard shows the name and the sums of another key.",
        "wonderq/rest/overview.py",
        "self._answers.respond(req, resp, reader,",
        "self._answers.respond(req, resp, None,",
        (f"{_SHARED}::test_an_answer_is_not_for_a_key_that_sees_something_else",),
    ),
    Mutant(
        "everybody_gets_old_answers",
        "A client that has just made a queue does not see it in the list.",
        "wonderq/rest/shared_answers.py",
        "        if age_s is None:\n            make().send(req, resp)\n            return\n",
        "        age_s = 1000 if age_s is None else age_s\n",
        (f"{_SHARED}::test_who_names_no_age_gets_an_answer_of_this_moment",),
    ),
    Mutant(
        "an_answer_is_shared_for_ever",
        "The dashboard stands still.",
        "wonderq/rest/shared_answers.py",
        "began_s - made_s >= age_s",
        "began_s - made_s > 1000 * age_s",
        (f"{_SHARED}::test_an_answer_is_shared_until_it_is_too_old",),
    ),
    Mutant(
        "msgpack_is_answered_with_json",
        "A client gets a form that it cannot read, once another has asked the same.",
        "wonderq/rest/shared_answers.py",
        "(reader, req.path, req.query_string, accepts_msgpack(req))",
        "(reader, req.path, req.query_string)",
        (f"{_SHARED}::test_one_form_is_not_another",),
    ),
    Mutant(
        "an_empty_dead_letter_queue_has_dead_letters",
        "Twenty empty dead-letter queues hide the one with messages.",
        "wonderq/rest/queues.py",
        "if snapshot.dead_letters_of(each)",
        "if each.buried or each.name in snapshot.sources",
        ("tests/http/test_overview.py::test_only_queues_that_hold_dead_letters_are_listed",),
    ),
    Mutant(
        "a_redrive_forgets_its_period",
        "All dead letters return, and not only those of yesterday.",
        "wonderq/broker/redrive.py",
        "if not Period(self.since_ms, self.until_ms).has(message.view.produced_ms):",
        "if False:",
        ("tests/http/test_redrive.py::test_only_the_dead_letters_of_a_period_come_back",),
    ),
]
