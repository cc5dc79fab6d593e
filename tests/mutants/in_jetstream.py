"""Bugs in the log on JetStream, and in the client of NATS under it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_LOG = "storage/wonderq_storage/jetstream_log.py"
_APPENDER = "storage/wonderq_storage/jetstream_appender.py"
_REPLAY = "storage/wonderq_storage/jetstream_replay.py"
_STREAM = "storage/wonderq_storage/jetstream_stream.py"
_CONNECTION = "storage/wonderq_storage/nats/connection.py"
_PROTOCOL = "storage/wonderq_storage/nats/protocol.py"
_TESTS = "tests/storage/test_jetstream_log.py"
_CLIENT_TESTS = "tests/storage/test_nats_connection.py"

MUTANTS = [
    Mutant(
        "append_without_an_expected_sequence",
        "A former owner goes on appending beside the new one, and acknowledged messages are lost.",
        _APPENDER,
        '"Nats-Expected-Last-Sequence": str(sequence - 1), ',
        "",
        (f"{_TESTS}::test_a_second_writer_fences_the_first",),
    ),
    Mutant(
        "two_appends_in_flight",
        "An append of a former owner behind one that was refused is accepted.",
        _LOG,
        "                if not self._leading:\n",
        "                if True:\n",
        (f"{_TESTS}::test_one_message_is_in_flight_at_a_time_and_others_gather_meanwhile",),
    ),
    Mutant(
        "answer_when_sent",
        "The broker answers before JetStream has acknowledged, so a takeover loses acknowledged messages.",
        _LOG,
        "            while self._committed <= position:\n",
        "            while self._taken <= position:\n",
        (f"{_TESTS}::test_nobody_is_answered_before_the_acknowledgement",),
    ),
    Mutant(
        "confirm_without_an_append",
        "A frozen owner answers reads and refusals from the past.",
        _LOG,
        "                self._check_room(leave_bytes + self._reserved_bytes)\n                group.is_due = True\n",
        "                self._check_room(leave_bytes + self._reserved_bytes)\n",
        (f"{_TESTS}::test_a_deposed_writer_confirms_nothing",),
    ),
    Mutant(
        "foreign_message_is_taken_for_the_own_one",
        "An append that another owner prevented is acknowledged.",
        _APPENDER,
        "if found.payload == message:",
        "if found.payload:",
        (f"{_TESTS}::test_a_second_writer_fences_the_first",),
    ),
    Mutant(
        "own_message_is_taken_for_a_foreign_one",
        "After a lost acknowledgement the owner gives up the log that it has.",
        _APPENDER,
        "if found.payload == message:",
        "if found.payload is message:",
        (f"{_TESTS}::test_an_unknown_outcome_is_found_out_with_the_identical_message",),
    ),
    Mutant(
        "loss_is_taken_for_a_fence",
        "JetStream loses acknowledged messages, and nobody is told.",
        _APPENDER,
        'raise self._damaged(f"message {sequence - 1} was acknowledged, and the last is {info.last_sequence}")',
        "raise self._lost()",
        (f"{_TESTS}::test_lost_acknowledged_records_are_damage_and_not_a_fence",),
    ),
    Mutant(
        "fence_is_taken_for_loss",
        "Each takeover looks like a loss of messages, and its former owner never stands by.",
        _APPENDER,
        "                raise self._lost()\n            info",
        '                raise self._damaged("another message is there")\n            info',
        (f"{_TESTS}::test_a_second_writer_fences_the_first",),
    ),
    Mutant(
        "purge_before_the_acknowledgement",
        "Records that compaction rewrites are dropped before they are stored again, so a crash loses them.",
        _LOG,
        "        self.wait(awaited)\n        self._stream.purge(sequence)\n",
        "        self._stream.purge(sequence)\n",
        (f"{_TESTS}::test_the_newest_epoch_record_stays_in_the_stream",),
    ),
    Mutant(
        "stale_leader_is_taken_for_loss",
        "After a network fault the log stops for ever, although nothing is lost.",
        _APPENDER,
        "            if not pauses.wait():\n                if info",
        "            if True:\n                if info",
        (f"{_TESTS}::test_a_leader_that_knows_less_for_a_while_is_asked_again",),
    ),
    Mutant(
        "unknown_outcome_ends_the_log",
        "Each election of a stream's leader stops the broker.",
        _APPENDER,
        "        if not may_pass(reason):\n",
        "        if reason:\n",
        (f"{_TESTS}::test_an_unknown_outcome_is_found_out_with_the_identical_message",),
    ),
    Mutant(
        "acknowledgement_of_another_place",
        "Messages are looked for where they are not.",
        _APPENDER,
        "            if ack.sequence != sequence:\n",
        "            if ack.sequence < sequence:\n",
        (f"{_TESTS}::test_another_sequence_than_the_expected_one_is_damage",),
    ),
    Mutant(
        "claim_without_a_comparison",
        "Two processes take the log over at once, and both believe that they have it.",
        _REPLAY,
        '"Nats-Expected-Last-Subject-Sequence": str(after), ',
        "",
        (f"{_TESTS}::test_of_two_writers_that_take_over_at_once_one_yields",),
    ),
    Mutant(
        "epoch_record_is_purged",
        "After a compaction no process can take the log over, or two can.",
        _LOG,
        "            if self._epoch_sequence < sequence:\n",
        "            if self._epoch_sequence < 0:\n",
        (f"{_TESTS}::test_the_newest_epoch_record_stays_in_the_stream",),
    ),
    Mutant(
        "chain_is_not_checked",
        "A message that was replaced in JetStream is delivered.",
        _REPLAY,
        "if self.chain not in (None, message.chain):",
        "if self.chain == -1:",
        (f"{_TESTS}::test_a_message_of_another_history_is_found",),
    ),
    Mutant(
        "group_of_a_former_owner_is_replayed",
        "A former owner's late append changes the state of the new one.",
        _REPLAY,
        "if self.epoch and message.epoch != self.epoch:",
        "if message.epoch == -1:",
        (f"{_TESTS}::test_a_writer_that_is_not_fenced_is_found",),
    ),
    Mutant(
        "hole_is_passed_over",
        "Messages that JetStream lost are missing without a report.",
        _STREAM,
        "                        if message.sequence != first:\n                            break\n",
        "                        first = message.sequence\n",
        (f"{_TESTS}::test_a_hole_is_damage",),
    ),
    Mutant(
        "lagging_replica_is_believed",
        "A replica that lags behind makes a start fail, and intact messages unreadable.",
        _STREAM,
        "                found = self.get(first)\n",
        "                found = None\n",
        (f"{_TESTS}::test_a_replica_that_lags_behind_is_passed_over",),
    ),
    Mutant(
        "lost_end_is_not_noticed",
        "A checkpoint knows of acknowledged messages that the stream has lost, and nobody is told.",
        "storage/wonderq_storage/jetstream_takeover.py",
        "        if info.last_sequence < sequence:\n",
        "        if False:\n",
        (
            "tests/storage/test_jetstream_takeover.py::test_a_stream_that_ends_before_what_was_acknowledged_is_damaged",
            f"{_TESTS}::test_a_stream_that_lost_its_end_is_damage",
        ),
    ),
    Mutant(
        "room_is_not_counted",
        "A full stream ends the broker, after it has changed its state.",
        _LOG,
        "        if need > self._max_bytes - self._used_bytes - self._open.stored_bytes:\n",
        "        if need > self._max_bytes:\n",
        (f"{_TESTS}::test_a_full_stream_takes_over_trims_and_confirms",),
    ),
    Mutant(
        "waiters_sleep_after_a_fence",
        "Requests hang after another process has taken the log over.",
        _LOG,
        "            if self.failure is None:\n                # One",
        "            if True:\n                # One",
        (f"{_TESTS}::test_everybody_who_waits_is_told_of_the_loss",),
        hangs=True,
    ),
    Mutant(
        "requests_of_a_lost_connection_wait",
        "After a server's death, each append waits for its time limit instead of being sent to another server.",
        _CONNECTION,
        "            each.fail(reason)\n",
        "            pass\n",
        (f"{_CLIENT_TESTS}::test_a_lost_connection_fails_its_requests_and_is_replaced",),
    ),
    Mutant(
        "password_in_the_clear",
        "A server, or somebody in between, that offers no TLS gets the password.",
        _CONNECTION,
        '        if wanted and not (info.get("tls_required") or info.get("tls_available")):\n',
        '        if wanted and info.get("tls_required") is False:\n',
        (f"{_CLIENT_TESTS}::test_credentials_are_never_sent_in_the_clear_if_tls_is_wanted",),
    ),
    Mutant(
        "message_without_an_end",
        "A server that counts wrong makes the client read a payload as commands.",
        _PROTOCOL,
        '        if self._buffer[end : end + 2] != b"\\r\\n":\n',
        "        if end < 0:\n",
        ("tests/storage/test_nats_protocol.py::test_bytes_that_no_server_sends_are_refused",),
    ),
]
