"""Bugs in limits."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_BROKER = "tests/broker/test_limits.py"
_HTTP = "tests/http/test_limits.py"

MUTANTS = [
    Mutant(
        "sums_forget_dropped_queues",
        "A broker that made and deleted many queues is full for ever.",
        "wonderq/state/state.py",
        "            self.messages -= len(dropped.messages)\n",
        "",
        (f"{_BROKER}::TestSums",),
    ),
    Mutant(
        "sums_forget_what_a_checkpoint_had",
        "After a start from a checkpoint a broker takes more than it may.",
        "wonderq/state/state.py",
        "            state._count(queue.messages, 0, 0)\n",
        "",
        ("tests/broker/test_snapshots.py",),
    ),
    Mutant(
        "batches_are_not_counted_in_messages",
        "A queue that is nearly full takes a batch of any size.",
        "wonderq/broker/admission.py",
        "            messages = len(there) + count\n",
        "            messages = len(there) + 1\n",
        (f"{_BROKER}::TestMessages",),
    ),
    Mutant(
        "a_delete_wakes_nobody",
        "A consumer that waits for room in flight sleeps on when there is some.",
        "wonderq/broker/changes.py",
        "                self._core.consumers.notify(found)  # more messages may be in flight now\n",
        "",
        (f"{_BROKER}::TestInFlight",),
    ),
    Mutant(
        "a_queue_without_room_in_flight_looks_empty",
        "Consumers are told that there is nothing while messages wait.",
        "wonderq/broker/claims.py",
        "                            if outcome.in_flight_limit:",
        "                            if False:",
        (f"{_BROKER}::TestInFlight",),
    ),
    Mutant(
        "listings_are_never_over",
        "After so many listings as may be read at once there is never one more.",
        "wonderq/broker/queries.py",
        "            self._listings.discard(this)",
        "            pass",
        (f"{_BROKER}::TestListings",),
    ),
    Mutant(
        "a_listing_has_no_turns",
        "A filtered listing of messages with many attributes holds up all other requests.",
        "wonderq/broker/queries.py",
        "                    if work > _WORK_PER_TURN:",
        "                    if False:",
        ("tests/http/test_turns.py",),
    ),
    Mutant(
        "names_are_matched_in_one_turn",
        "A list of many queues for a key with many patterns holds up all other requests.",
        "wonderq/broker/queries.py",
        "        if not number % _CHUNK_NAMES:",
        "        if False:",
        ("tests/http/test_turns.py",),
    ),
    Mutant(
        "tags_are_not_bounded_in_bytes",
        "The tags of 10,000 queues take gigabytes of memory.",
        "wonderq/model/settings.py",
        "    if size > MAX_TEXT_BYTES:",
        "    if False:",
        ("tests/http/test_grown.py::TestQueues", "tests/sqs/test_queues.py"),
    ),
    Mutant(
        "a_websocket_consumes",
        "A client that wants a WebSocket claims messages that it cannot read.",
        "wonderq/httpd/parser.py",
        '        if "websocket" in headers.get("UPGRADE", "").lower():',
        "        if False:",
        ("tests/http/test_raw_sockets.py::TestOtherProtocols",),
    ),
    Mutant(
        "a_large_request_counts_twice",
        "A key that sends large batches may make half as many requests.",
        "wonderq/auth/access.py",
        'head.headers.get("AUTHORIZATION"), count=False)',
        'head.headers.get("AUTHORIZATION"), count=True)',
        (f"{_HTTP}::TestOfKeys",),
    ),
    Mutant(
        "buckets_overflow",
        "A key that was not used for an hour may make all the requests of an hour at once.",
        "wonderq/runtime/token_bucket.py",
        "        self._full_s[key_id] = max(self._full_s.get(key_id, 0.0), now_s) + 1 / per_second",
        "        self._full_s[key_id] = self._full_s.get(key_id, now_s) + 1 / per_second",
        ("tests/broker/test_buckets.py",),
    ),
    Mutant(
        "a_host_that_begins_like_ours_is_ours",
        "A page has localhost.evil.example point to the broker of its visitor.",
        "wonderq/httpd/addresses.py",
        "_LOOPBACK.fullmatch(name)",
        "_LOOPBACK.match(name)",
        ("tests/http/test_other_sites.py::test_other_names_are_refused",),
    ),
    Mutant(
        "each_address_of_ipv6_counts_alone",
        "One client has 2**64 addresses, and takes all connections.",
        "wonderq/httpd/addresses.py",
        "packed if packed.startswith(_MAPPED) else packed[:_NETWORK_BYTES]",
        "packed",
        ("tests/http/test_slow_clients.py::test_a_network_of_ipv6_has_the_limit_of_one_address",),
    ),
    Mutant(
        "all_large_bodies_are_at_work_at_once",
        "A thousand clients that send batches of 16 MiB take 40 GB of memory.",
        "wonderq/httpd/server.py",
        "        self._left_bytes -= size\n",
        "",
        (f"{_HTTP}::test_large_bodies_are_at_work_a_few_at_a_time_and_wait_in_files",),
    ),
    Mutant(
        "listings_take_no_turns",
        "Many listings at once hold up all other requests.",
        "wonderq/runtime/fibers.py",
        "            self._ready.append(self._yielded.popleft())\n",
        "            self._ready.extend(self._yielded)\n            self._yielded.clear()\n",
        ("tests/broker/test_fibers.py::test_what_takes_long_takes_turns",),
    ),
]
