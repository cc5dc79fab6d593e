"""Bugs in the filters of subscriptions."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FILTERS = "tests/filters/test_filters.py"
_REFUSALS = "tests/filters/test_refusals.py"
_SURROGATES = "tests/http/test_lone_surrogates.py"

_POLICY = "wonderq/model/filters.py"
_CONDITIONS = "wonderq/model/filters_conditions.py"
_SUBJECT = "wonderq/model/filters_subject.py"
_JSON = "wonderq/model/filters_json.py"

MUTANTS = [
    Mutant(
        "filters_match_keys_in_any_object",
        "A filter matches although no object of a list has all its keys.",
        _POLICY,
        "            if not any(keys.match(each, subject) for each in _objects(source.get(name), subject)):\n"
        "                return False",
        "            if not all(\n"
        "                any(one.match(_scalars(each.get(one.key, _MISSING), subject), subject.spend) for each in _objects(source.get(name), subject))\n"
        "                for one in keys._conditions\n"
        "            ):\n"
        "                return False",
        (f"{_FILTERS}::test_all_keys_match_in_one_object_of_a_list",),
    ),
    Mutant(
        "filters_need_every_alternative",
        "A filter with $or matches only if all its alternatives do.",
        _POLICY,
        "return all(any(each.match(source, subject) for each in branches) for branches in self._alternatives)",
        "return all(all(each.match(source, subject) for each in branches) for branches in self._alternatives)",
        (f"{_FILTERS}::test_alternatives_with_or",),
    ),
    Mutant(
        "filters_take_any_or_for_alternatives",
        "A key named $or is taken for alternatives.",
        _POLICY,
        " and each and not any(name in OPERATORS for name in each)",
        "",
        (f"{_FILTERS}::test_or_is_a_key_like_any_other_if_it_does_not_hold_alternatives",),
    ),
    Mutant(
        "filters_forget_the_depth_of_combinations",
        "A nested policy is accepted that SNS refuses.",
        _POLICY,
        "self.combinations *= len(value) * depth",
        "self.combinations *= len(value)",
        (f"{_REFUSALS}::test_combinations",),
    ),
    Mutant(
        "filters_have_any_number_of_parts",
        "One policy makes every publish slow.",
        _POLICY,
        "        if parts > MAX_PARTS:",
        "        if False:",
        (f"{_REFUSALS}::test_parts_of_a_policy",),
    ),
    Mutant(
        "filters_take_true_for_a_number",
        "A filter on the number 1 matches true.",
        _CONDITIONS,
        "        elif type(value) is float:\n            if value in self._exact",
        "        elif isinstance(value, (int, float)):\n            if value in self._exact",
        (f"{_FILTERS}::test_a_condition",),
    ),
    Mutant(
        "filters_match_a_missing_key",
        "A message without an attribute matches a filter that excludes values of it.",
        _CONDITIONS,
        "            return self._absent\n",
        "            return self._absent or bool(self._exclusions)\n",
        (f"{_FILTERS}::test_a_missing_key",),
    ),
    Mutant(
        "filters_exclude_only_the_first_range_bound",
        "A range includes a bound that it excludes.",
        _CONDITIONS,
        'found = found._replace(high=bound, excludes_high=operator == "<")',
        "found = found._replace(high=bound)",
        (f"{_FILTERS}::test_a_condition",),
    ),
    Mutant(
        "wildcards_overlap",
        "A pattern matches a text that is too short for it.",
        _CONDITIONS,
        "            if len(text) < shortest or not text.startswith(first) or not text.endswith(last):",
        "            if not text.startswith(first) or not text.endswith(last):",
        (f"{_FILTERS}::test_a_condition",),
    ),
    Mutant(
        "wildcards_search_the_end",
        "A pattern finds its middle in its end.",
        _CONDITIONS,
        "start = text.find(piece, start, end)",
        "start = text.find(piece, start)",
        (f"{_FILTERS}::test_a_condition",),
    ),
    Mutant(
        "wildcards_cost_one_point",
        "A policy is accepted that SNS refuses as too complex.",
        _CONDITIONS,
        "points = [1 if count == 1 else 3 * count for count in wildcards]",
        "points = [1 for _ in wildcards]",
        (f"{_REFUSALS}::test_points_of_wildcards",),
    ),
    Mutant(
        "filters_read_numbers_in_texts",
        "A String attribute matches a number.",
        _SUBJECT,
        'found[name] = float(value) if kind.startswith("Number") else value',
        'found[name] = float(value) if value.isdigit() or kind.startswith("Number") else value',
        (f"{_FILTERS}::test_types_of_attributes",),
    ),
    Mutant(
        "filters_never_pause",
        "Many filters, or a large body, hold up all other requests.",
        _SUBJECT,
        "        if self._steps >= _STEPS_PER_PAUSE:",
        "        if False:",
        (f"{_FILTERS}::test_evaluation_takes_turns",),
    ),
    Mutant(
        "large_bodies_are_decoded_at_once",
        "A large body holds up all other requests.",
        _JSON,
        "        if len(text) <= _SHORT_CHARACTERS:",
        "        if True:",
        (f"{_FILTERS}::test_a_large_body_is_decoded_in_turns",),
    ),
    Mutant(
        "explanations_read_all_of_a_value",
        "A dry run takes time for values of which it shows only the beginning.",
        _CONDITIONS,
        "json.dumps(without_surrogates(value[: _SHOWN_CHARACTERS + 1]), ensure_ascii=False)",
        "json.dumps(without_surrogates(value), ensure_ascii=False)",
        (f"{_FILTERS}::test_an_explanation_shows_the_beginnings_of_long_values",),
    ),
    Mutant(
        "dry_runs_never_pause",
        "A dry run of a large message holds up all other requests.",
        "wonderq/broker/publish.py",
        "[subject] = batch.subjects(took)",
        "[subject] = batch.subjects(lambda _: None)",
        ("tests/broker/test_publish.py::test_a_dry_run_decodes_the_body_once_and_takes_turns",),
    ),
    Mutant(
        "explanations_have_half_a_character",
        "A dry run of a message with a lone surrogate fails.",
        _CONDITIONS,
        "json.dumps(without_surrogates(value[: _SHOWN_CHARACTERS + 1]), ensure_ascii=False)",
        "json.dumps(value[: _SHOWN_CHARACTERS + 1], ensure_ascii=False)",
        (f"{_SURROGATES}::test_of_the_rest_api",),
    ),
    Mutant(
        "stored_filters_have_half_a_character",
        "A filter with a lone surrogate makes the export of its folder fail.",
        "wonderq/model/topics.py",
        'fields["filter"] = clean_json(fields["filter"])',
        "pass",
        ("tests/tools/test_topics.py::test_a_filter_with_half_a_character_of_an_earlier_version",),
    ),
    Mutant(
        "policies_have_half_a_character",
        "A policy is stored that no answer can have.",
        "wonderq/model/unicode.py",
        "        json.dumps(value, ensure_ascii=False).encode()\n    return value",
        "        pass\n    return value",
        (f"{_SURROGATES}::test_a_policy_with_one_is_refused",),
    ),
]
