"""Bugs in what the nodes of a cluster do with requests for each other."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CARRYING = "wonderq/cluster/carrying.py"
_APPLICATIONS = "wonderq/cluster/applications.py"
_FORWARDING = "wonderq/cluster/forwarding.py"
_RECEIVING = "wonderq/cluster/receiving.py"
_LISTINGS = "wonderq/cluster/listings.py"
_ENDPOINTS = "wonderq/broker/endpoints.py"
_ADDRESSES = "wonderq/client/addresses.py"
_OWNER_TESTS = "tests/edge/test_owners.py"

_CARRYING_TESTS = "tests/edge/test_carrying.py"
_FORWARDING_TESTS = "tests/edge/test_forwarding.py"
_LISTING_TESTS = "tests/edge/test_listings.py"
_ACCESS_TESTS = "tests/edge/test_access.py"
_READING_TESTS = "tests/edge/test_reading_on_the_server.py"
_AWS_TESTS = "tests/edge/test_aws_clients.py"

MUTANTS = [
    Mutant(
        "silent_nats_server_is_kept_while_the_http_server_reads",
        "A node that reads on the thread of its server passes requests on into the void for ever.",
        "storage/wonderq_storage/nats/connection.py",
        "            if silent > _SILENT_PINGS:\n",
        "            if False:\n",
        (f"{_READING_TESTS}::test_a_server_that_falls_silent_is_replaced_and_one_that_answers_pings_is_kept",),
    ),
    Mutant(
        "end_of_the_http_server_leaves_nats_unread",
        "A node that ends hears no answers any more while it gives its shards away.",
        "wonderq/httpd/server.py",
        "            self._server.forget(fileno, is_polled=self.polled_events != 0)\n            self._ended()\n",
        "            self._server.forget(fileno, is_polled=self.polled_events != 0)\n",
        (f"{_READING_TESTS}::test_the_connection_reads_by_itself_again_when_the_server_has_ended",),
    ),
    Mutant(
        "node_that_stops_waits_for_polls_at_other_nodes",
        "A restart takes as long as the longest poll of a queue of another node, and ends in a broken connection.",
        _FORWARDING,
        "            if self._is_ending and not is_cancelled:\n",
        "            if False:\n",
        (f"{_FORWARDING_TESTS}::test_a_poll_at_another_node_ends_with_the_process",),
    ),
    Mutant(
        "queue_of_an_endpoint_is_in_another_shard",
        "Most topics of a cluster cannot have HTTP endpoints.",
        _ENDPOINTS,
        '--push-{subscription}"',
        '-push-{subscription}"',
        (f"{_AWS_TESTS}::test_http_endpoints_of_topics_of_all_shards_are_subscribed_and_listed",),
    ),
    Mutant(
        "unknown_outcome_is_repeated_without_a_key",
        "A send whose answer was lost is stored twice.",
        _CARRYING,
        "            if is_over or (is_unknown and not is_repeatable()):\n",
        "            if is_over:\n",
        (
            f"{_CARRYING_TESTS}::test_an_unknown_outcome_is_tried_again_only_if_that_is_safe",
            f"{_FORWARDING_TESTS}::test_a_frozen_owner_is_not_waited_for_once_another_one_is_heard",
        ),
    ),
    Mutant(
        "unknown_outcome_is_forgotten",
        "A client is told that its request was not carried out, although an earlier try may have been.",
        _CARRYING,
        'is_unknown = is_unknown or outcome.verdict == "unknown"',
        'is_unknown = outcome.verdict == "unknown"',
        (f"{_CARRYING_TESTS}::test_an_outcome_stays_unknown_although_later_tries_were_surely_in_vain",),
    ),
    Mutant(
        "moved_poll_begins_its_wait_anew",
        "A consumer whose poll moves to another owner waits longer than it asked for, and its client gives up first.",
        _CARRYING,
        "request.waited_s = waited_s + tried_s - began_s",
        "request.waited_s = waited_s",
        (f"{_CARRYING_TESTS}::test_a_poll_that_moves_has_waited_already",),
    ),
    Mutant(
        "appended_record_counts_as_not_done",
        "An owner that loses its shard after it has appended a message says that it did nothing, so it is sent again.",
        _APPLICATIONS,
        "    if not has_acted():\n",
        "    if True:\n",
        (f"{_FORWARDING_TESTS}::test_an_unknown_outcome_is_said_and_not_repeated",),
    ),
    Mutant(
        "application_of_a_former_ownership",
        "A node that gets a shard back serves it with the broker that has lost it.",
        _APPLICATIONS,
        "        if found is not None and found.broker is broker:\n            return found\n",
        "        if found is not None:\n            return found\n",
        (f"{_FORWARDING_TESTS}::test_a_shard_that_comes_back_has_a_new_broker",),
    ),
    Mutant(
        "early_answer_of_a_poll_is_final",
        "A consumer gets an empty answer at once when its shard is handed over.",
        _APPLICATIONS,
        "    if owned.broker.unready is None:\n",
        "    if True:\n",
        (f"{_FORWARDING_TESTS}::test_a_long_poll_moves_to_the_next_owner",),
    ),
    Mutant(
        "lost_part_of_a_response",
        "A part of a response is lost in an overflow, and the client gets the rest as if it were all.",
        _FORWARDING,
        "            if part.number != len(self._body):\n",
        "            if False:\n",
        (f"{_CARRYING_TESTS}::test_a_lost_part_makes_the_outcome_unknown",),
    ),
    Mutant(
        "owner_is_not_told_that_a_client_has_gone",
        "A consumer that has disconnected still gets a message at another node, and nobody has it until its timeout.",
        _FORWARDING,
        "                self._cancel(owner, request)\n                return _GONE\n",
        "                return _GONE\n",
        (f"{_FORWARDING_TESTS}::test_a_consumer_that_disconnects_is_forgotten_by_the_owner",),
    ),
    Mutant(
        "late_request_is_carried_out",
        "An owner that was frozen carries out requests whose clients were told long ago that they failed.",
        _RECEIVING,
        "            if time.time_ns() // 1_000_000 > request.deadline_ms or work.is_cancelled:\n",
        "            if work.is_cancelled:\n",
        (f"{_FORWARDING_TESTS}::test_a_request_that_nobody_waits_for_any_more_is_not_carried_out",),
    ),
    Mutant(
        "deadline_by_the_own_clock",
        "All requests that a node passes on get no answer when its clock is minutes behind.",
        _FORWARDING,
        "self._shards.time_ms(owner) + round(self._longest_s * 1000)",
        "round((time.time() + self._longest_s) * 1000)",
        (f"{_FORWARDING_TESTS}::test_a_request_has_the_deadline_of_the_clock_of_the_owner",),
    ),
    Mutant(
        "listing_without_a_shard",
        "A listing leaves the queues of one shard out.",
        _LISTINGS,
        "        shards = range(self._forwarding.shards)\n",
        "        shards = range(self._forwarding.shards - 1)\n",
        (f"{_LISTING_TESTS}::test_queues_of_all_shards_are_listed_in_order",),
    ),
    Mutant(
        "listing_ends_after_a_page",
        "A listing of a shard ends with its first page.",
        _LISTINGS,
        "                yield Item(after, each)\n            if len(page) < size:\n",
        "                yield Item(after, each)\n            if True:\n",
        (f"{_LISTING_TESTS}::test_queues_are_listed_a_page_at_a_time",),
    ),
    Mutant(
        "client_makes_a_grant",
        "Whoever writes Granted before a key gets the rights of a node.",
        "wonderq/auth/grants.py",
        "        return compare_digest(authorization[: len(self._prefix)].encode(), self._prefix.encode())\n",
        "        return True\n",
        (f"{_ACCESS_TESTS}::test_no_client_can_pretend_that_a_node_has_checked_its_key",),
    ),
    Mutant(
        "key_that_ended_counts_as_none_needed",
        "A key that expires at the right moment may use every queue of the cluster.",
        "wonderq/cluster/edge.py",
        "        if key is None:  # which would stand for a request that needs none\n            raise unauthorized()\n",
        "",
        (f"{_ACCESS_TESTS}::test_a_key_that_ends_after_it_was_authorized_permits_nothing",),
    ),
    Mutant(
        "rate_is_counted_by_two_nodes",
        "A key may make only half as many requests when its client does not ask the owner.",
        "wonderq/auth/access.py",
        "too_fast = None if is_counted or self.grants.has(authorization) else self._check_rate(key, count)",
        "too_fast = None if is_counted else self._check_rate(key, count)",
        (f"{_ACCESS_TESTS}::test_a_request_counts_once_for_the_rate_of_its_key",),
    ),
    Mutant(
        "client_sends_an_unsafe_request_to_two_addresses",
        "A request whose answer was lost goes to the next address, although it must not be carried out twice.",
        _ADDRESSES,
        "return outcome, is_untried and not outcome.outcome_unknown",
        "return outcome, is_untried",
        ("tests/client/test_addresses.py::test_a_request_that_is_not_safe_to_repeat_goes_to_no_other_address",),
    ),
    Mutant(
        "stop_waits_for_a_frozen_node",
        "A node that stops while another one is frozen waits for its answer for most of a minute, and is killed.",
        "wonderq/serve_cluster/serving.py",
        """        # Closed before the rounds, which would wait for answers to what they have sent.
        stack.callback(requests.close)
""",
        "",
        ("tests/cluster/test_crossing_nodes.py::test_a_node_that_stops_does_not_wait_for_a_frozen_one",),
    ),
    Mutant(
        "client_never_asks_the_owner",
        "Two of three requests go through a node that only passes them on.",
        _ADDRESSES,
        "                self._learn(request, outcome.owner)\n",
        "                pass\n",
        (
            "tests/client/test_addresses.py::test_further_requests_for_a_queue_go_to_its_owner",
            f"{_OWNER_TESTS}::test_a_client_learns_the_owner_of_each_queue",
        ),
    ),
    Mutant(
        "client_asks_a_dead_owner_for_ever",
        "All requests for the queues of a dead node fail, although any other node would answer them.",
        _ADDRESSES,
        "if owner != at}",
        "}",
        ("tests/client/test_addresses.py::test_an_owner_that_fails_is_forgotten",),
    ),
    Mutant(
        "client_learns_an_owner_for_each_name",
        "A client that makes a queue with a new name for each customer never asks an owner.",
        "wonderq/client/requests.py",
        'return self.queue.partition("--")[0].removesuffix(_FIFO)',
        "return self.queue",
        ("tests/client/test_addresses.py::test_names_that_share_what_stands_before_the_hyphens_have_one_owner",),
    ),
    Mutant(
        "client_believes_in_an_owner_that_it_cannot_reach",
        "A client that one node is closed to waits for it before each request, because another node names it.",
        _ADDRESSES,
        " or monotonic() - self._failed_s[owner] < AVOIDED_S",
        "",
        ("tests/client/test_addresses.py::test_an_owner_that_has_failed_is_not_asked_again_for_some_time",),
    ),
    Mutant(
        "node_does_not_tell_the_owner",
        "Clients never learn the owner of a queue.",
        "wonderq/cluster/carrying.py",
        "if outcome.response is None or not url:",
        "if True:",
        (
            "tests/edge/test_carrying.py::test_the_response_tells_the_address_of_the_owner_if_that_is_known",
            f"{_OWNER_TESTS}::test_a_node_that_passes_a_request_on_tells_the_address_of_the_owner",
        ),
    ),
    Mutant(
        "listing_of_a_lost_shard_is_a_bug_in_the_log",
        "Each takeover while somebody lists messages leaves a traceback that an operator reports as a bug.",
        "wonderq/rest/listing.py",
        "            raise ResponseCutError(str(error)) from error\n",
        "            raise\n",
        (f"{_LISTING_TESTS}::test_a_long_listing_is_cut_off_when_a_shard_is_lost_and_the_log_has_one_sentence",),
    ),
    Mutant(
        "listing_that_is_passed_on_is_read_too_late",
        "A listing by another node ends with an error that no retry follows when the owner loses its shard.",
        _APPLICATIONS,
        "        return _whole(call(owned, environ))\n",
        "        return call(owned, environ)\n",
        (f"{_LISTING_TESTS}::test_a_listing_of_messages_survives_or_is_cut_off_when_the_owner_loses_its_shard[other]",),
    ),
    Mutant(
        "dead_letter_queue_of_other_shards_is_an_ordinary_one",
        "Nobody sees the dead letters of a queue whose dead-letter queue is in another shard.",
        "wonderq/broker/overview.py",
        "        self.elsewhere.add_to(sources)\n",
        "        self.elsewhere.is_wanted = True\n",
        ("tests/edge/test_crossing.py::test_a_dead_letter_queue_that_only_other_shards_use_is_shown_as_one",),
    ),
    Mutant(
        "obstacle_hides_an_unknown_outcome",
        "A client is told that nothing was carried out, sends its message again, and it is stored twice.",
        _CARRYING,
        'if first is not None and first.verdict == "unknown":',
        "if False:",
        (
            f"{_CARRYING_TESTS}::test_an_obstacle_does_not_hide_that_the_outcome_is_unknown",
            f"{_FORWARDING_TESTS}::test_an_obstacle_at_the_former_owner_does_not_hide_that_the_outcome_is_unknown",
        ),
    ),
    Mutant(
        "refusal_by_the_edge_hides_an_unknown_outcome",
        "A client whose key has ended meanwhile is told that its message was refused, although it may be stored.",
        "wonderq/cluster/edge.py",
        'if first.verdict == "unknown" else None',
        "if False else None",
        (f"{_ACCESS_TESTS}::test_a_key_that_ends_meanwhile_does_not_hide_that_the_outcome_is_unknown",),
    ),
    Mutant(
        "namesake_answers_for_the_owner",
        "Two processes with one name make a message many times, and its client hears that nothing was done.",
        _RECEIVING,
        '        if request.token not in ("", self._token):\n',
        "        if False:\n",
        (
            f"{_CARRYING_TESTS}::test_a_process_is_silent_about_requests_for_another_one_of_its_name",
            f"{_FORWARDING_TESTS}::test_two_processes_with_one_name_do_not_answer_for_each_other",
        ),
    ),
    Mutant(
        "request_is_for_any_process_of_a_name",
        "The same, because a node does not tell which process it asks.",
        _CARRYING,
        "        request.token = owner.token\n",
        "",
        (f"{_CARRYING_TESTS}::test_a_request_is_for_one_process_of_the_owner",),
    ),
    Mutant(
        "cancellation_that_fails_counts_as_a_request_that_was_not_sent",
        "A send at a node that stops while it has no connection is made again, although the owner has it.",
        _FORWARDING,
        "        with suppress(NatsError):  # the request itself",
        "        with suppress():  # the request itself",
        (f"{_CARRYING_TESTS}::test_a_cancellation_that_cannot_be_sent_does_not_make_the_request_undone",),
    ),
    Mutant(
        "request_that_falls_back_to_the_edge_counts_twice",
        "A key at its rate is refused while shards move, and does not hear that its message may be stored.",
        "wonderq/app.py",
        "is_counted=COUNTED in req.env",
        "is_counted=False",
        (f"{_ACCESS_TESTS}::test_a_request_that_is_made_again_elsewhere_counts_once_for_the_rate_of_its_key",),
    ),
    Mutant(
        "history_needs_a_queue_in_each_shard",
        "The overview of a young cluster has no charts.",
        "wonderq/broker/history.py",
        "every = [*self._core.counters.by_queue.values(), self._core.counters.others]",
        "every = [*self._core.counters.by_queue.values()]",
        (
            "tests/broker/test_history.py::test_a_broker_without_queues_has_ages",
            "tests/edge/test_listings.py::test_shards_without_queues_have_a_history",
        ),
    ),
    Mutant(
        "overview_needs_nodes_of_one_version",
        "The overview fails while a cluster gets a new version, one node after the other.",
        "wonderq/cluster/overviews.py",
        "{**_OF_EARLIER_NODES, **each}",
        "{**each}",
        ("tests/edge/test_listings.py::test_a_node_of_an_earlier_version_has_an_overview_too",),
    ),
    Mutant(
        "overview_repeats_problems_of_a_process",
        "A node that owns sixteen shards reports sixteen doubtful clocks.",
        "wonderq/cluster/overviews.py",
        'value["problems"] = list(different.values())',
        'value["problems"] = [problem for each in parts for problem in each["problems"]]',
        ("tests/edge/test_listings.py::test_an_overview_has_each_problem_once",),
    ),
    Mutant(
        "dead_owner_is_waited_for",
        "When a node dies, all requests that it had wait a quarter of a second longer than the takeover takes.",
        _FORWARDING,
        "(GRACE_S if self._shards.hears(process) else 0)",
        "GRACE_S",
        ("tests/edge/test_forwarding.py::test_a_former_owner_that_is_not_heard_any_more_has_no_time_left",),
    ),
    Mutant(
        "former_owner_has_no_time_to_answer",
        "When a shard is handed over, producers get an error for messages that were stored.",
        _FORWARDING,
        "(GRACE_S if self._shards.hears(process) else 0)",
        "0",
        ("tests/edge/test_forwarding.py::test_an_answer_of_the_former_owner_counts_if_it_comes_late",),
    ),
]
