"""Bugs in taking a shared log over, and in what a process answers that does not own it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TAKEOVER = "storage/wonderq_storage/jetstream_takeover.py"
_CHECKPOINTS = "storage/wonderq_storage/jetstream_checkpoints.py"
_PEERS = "storage/wonderq_storage/jetstream_peers.py"
_MEMBER = "wonderq/ownership/member.py"
_NEIGHBOURS = "wonderq/ownership/neighbours.py"
_NODE = "wonderq/ownership/node.py"
_FRONT = "wonderq/ownership/front.py"

_TAKEOVER_TESTS = "tests/storage/test_jetstream_takeover.py"
_CHECKPOINT_TESTS = "tests/storage/test_jetstream_checkpoints.py"
_PEER_TESTS = "tests/storage/test_jetstream_peers.py"
_MEMBER_TESTS = "tests/high_availability/test_member.py"
_NODE_TESTS = "tests/high_availability/test_node.py"
_STANDING_BY_TESTS = "tests/high_availability/test_standing_by.py"

MUTANTS = [
    Mutant(
        "takeover_from_a_newer_owner",
        "Two processes take the log from each other although the newer one works.",
        _TAKEOVER,
        "            if epoch > decided_on:\n",
        "            if False:\n",
        (f"{_TAKEOVER_TESTS}::test_a_process_that_is_beaten_goes_on_reading",),
    ),
    Mutant(
        "takeover_ignores_what_was_acknowledged",
        "JetStream has lost acknowledged messages, and the next owner goes on as if they never were.",
        _TAKEOVER,
        "known = max(self._turn.known_sequence(self.progress.log_id), self.progress.sequence)",
        "known = self.progress.sequence",
        (f"{_TAKEOVER_TESTS}::test_a_stream_that_ends_before_what_was_acknowledged_is_damaged",),
    ),
    Mutant(
        "own_record_in_the_place_of_a_lost_one",
        "A stream that a stale leader describes as whole is taken over without its lost messages.",
        _TAKEOVER,
        "        if own <= known:\n",
        "        if False:\n",
        (f"{_TAKEOVER_TESTS}::test_a_record_in_a_place_that_was_acknowledged_is_damage",),
    ),
    Mutant(
        "dropped_parts_are_kept",
        "The next owner counts bytes that are not there, and refuses messages although there is room.",
        "storage/wonderq_storage/jetstream_log.py",
        "        progress.drop_before(info.first_sequence)\n",
        "",
        (f"{_TAKEOVER_TESTS}::test_parts_that_the_owner_drops_meanwhile_are_no_parts_of_the_next_owner",),
    ),
    Mutant(
        "late_leader_is_taken_for_damage",
        "After an election, a process that stands by takes a leader that is not ready yet for damage, and never takes over.",
        "storage/wonderq_storage/jetstream_stream.py",
        "        info = self.info_reaching(sequence)\n",
        "        info = self.info()\n",
        (f"{_TAKEOVER_TESTS}::test_a_leader_that_ends_too_early_is_asked_again",),
    ),
    Mutant(
        "takeover_from_an_owner_that_is_heard",
        "A process takes the log from an owner that works.",
        _MEMBER,
        "        if self._neighbours.owner(now_s) is not None:\n            return False\n",
        "",
        (f"{_MEMBER_TESTS}::test_an_owner_that_is_heard_keeps_the_log",),
    ),
    Mutant(
        "former_owner_is_taken_for_the_owner",
        "An owner that was frozen keeps everybody from taking over after the death of its successor.",
        _NEIGHBOURS,
        'if said.role == "owner" and said.epoch >= self.newest_epoch:',
        'if said.role == "owner":',
        (f"{_MEMBER_TESTS}::test_an_owner_that_does_not_know_of_its_successor_is_no_owner",),
    ),
    Mutant(
        "old_release_counts",
        "A late message of a former owner makes everybody take the log from the present one.",
        _NEIGHBOURS,
        "self.released_epoch > 0 and self.released_epoch >= self.newest_epoch",
        "self.released_epoch > 0",
        (f"{_MEMBER_TESTS}::test_a_release_counts_only_for_the_newest_epoch",),
    ),
    Mutant(
        "no_second_of_listening",
        "A process that starts, or was cut off, takes the log from an owner that it has not heard yet.",
        _MEMBER,
        "has_listened = min(connected_s, self._listening.listened_s(now_s)) >= SUSPECT_S",
        "has_listened = True",
        (
            f"{_MEMBER_TESTS}::test_without_others_a_process_listens_for_a_second",
            f"{_MEMBER_TESTS}::test_a_process_without_a_connection_hears_nobody",
        ),
    ),
    Mutant(
        "frozen_process_does_not_listen_again",
        "A process that was frozen for a moment takes the log from an owner that works.",
        _NEIGHBOURS,
        "        self._since_s = now_s\n        return True",
        "        return True",
        (f"{_MEMBER_TESTS}::test_a_process_that_was_frozen_itself_listens_again",),
    ),
    Mutant(
        "busy_process_listens_for_ever",
        "On a busy machine, no process takes the log of a dead owner over.",
        _NEIGHBOURS,
        "        if listened_s < SUSPECT_S:\n",
        "        if False:\n",
        (
            f"{_MEMBER_TESTS}::test_a_process_that_is_paused_again_and_again_takes_over_nevertheless",
            "tests/cluster/test_steward.py::test_a_node_that_is_paused_again_and_again_takes_over_nevertheless",
        ),
    ),
    Mutant(
        "clock_guard_off",
        "A process whose clock is a day ahead takes over, ends all claims, and spoils the time of the log for ever.",
        _MEMBER,
        "ahead_ms is None or abs(ahead_ms) > MAX_CLOCK_AHEAD_MS or now_s",
        "ahead_ms is None or now_s",
        (f"{_MEMBER_TESTS}::test_a_clock_that_is_off_takes_nothing_over",),
    ),
    Mutant(
        "clock_guard_without_a_comparison",
        "A process takes over before it has compared its clock with any other.",
        _MEMBER,
        "not connected_s or ahead_ms is None or abs",
        "not connected_s or ahead_ms is not None and abs",
        (f"{_MEMBER_TESTS}::test_a_clock_that_is_not_compared_yet_takes_nothing_over",),
    ),
    Mutant(
        "no_rest_after_a_loss",
        "Two slow processes take the log from each other all the time.",
        _MEMBER,
        "self._keep_off_until_s = self._now_s() + _KEEP_OFF_S",
        "self._keep_off_until_s = self._now_s()",
        (f"{_MEMBER_TESTS}::test_who_lost_the_log_leaves_it_to_the_others_for_ten_seconds",),
    ),
    Mutant(
        "known_sequence_goes_back",
        "A loss of acknowledged messages is not noticed after a process that knows less has spoken.",
        _NEIGHBOURS,
        "self._known[log_id] = max(self._known.pop(log_id, 0), sequence)",
        "self._known[log_id] = self._known.pop(log_id, 0) and sequence or sequence",
        (f"{_MEMBER_TESTS}::test_what_was_acknowledged_is_never_forgotten",),
    ),
    Mutant(
        "damaged_log_is_tried_again",
        "A process serves from a log that has lost acknowledged messages.",
        _NODE,
        '                self._give_up(Standing("damaged", "log_damaged", text))\n                return\n',
        "                self._fail(text)\n",
        (f"{_NODE_TESTS}::test_a_damaged_log_is_left_to_a_person",),
    ),
    Mutant(
        "broker_is_kept_after_a_fence",
        "A former owner goes on answering with its broker.",
        _NODE,
        "            finally:\n                self.front.stand_by()\n",
        "            finally:\n                pass\n",
        (f"{_NODE_TESTS}::test_the_end_hands_the_log_over",),
    ),
    Mutant(
        "idle_owner_does_not_ask",
        "A former owner without requests says for ever that it serves.",
        _NODE,
        "            if member.is_deposed:\n",
        "            if False:\n",
        (f"{_NODE_TESTS}::test_an_idle_owner_finds_out_that_it_is_deposed",),
    ),
    Mutant(
        "failed_log_is_kept",
        "After 30 s without NATS, a process never serves again.",
        _NODE,
        "while not self._ending.is_set() and log.failure is None:",
        "while not self._ending.is_set():",
        (f"{_NODE_TESTS}::test_a_failed_log_is_opened_again",),
    ),
    Mutant(
        "no_release",
        "After a stop in order, nobody serves for a second.",
        _NODE,
        "        self.member.release()\n",
        "",
        (f"{_NODE_TESTS}::test_the_end_hands_the_log_over",),
    ),
    Mutant(
        "released_before_it_is_closed",
        "The next owner does not know of the last messages of one that ended in order.",
        _NODE,
        "        self.member.acknowledge(log.log_id, log.acknowledged_sequence)  # closing",
        "        # closing",
        (f"{_NODE_TESTS}::test_the_end_hands_the_log_over",),
    ),
    Mutant(
        "requests_wait_without_a_quorum",
        "Each request waits for 30 s while NATS acknowledges nothing.",
        _FRONT,
        'not (self._has_quorum() or environ["PATH_INFO"] in _WITHOUT_QUORUM)',
        "False",
        (f"{_STANDING_BY_TESTS}::test_without_a_quorum_a_broker_refuses_at_once",),
    ),
    Mutant(
        "large_bodies_reach_a_stand_by",
        "An SQS client gets an error that it takes for final, because the stand-by checks its key.",
        _FRONT,
        "return None if is_small else self._refusal()",
        "return None if is_small else self._check_head(head)",
        (f"{_STANDING_BY_TESTS}::test_a_large_body_is_refused_by_its_head",),
    ),
    Mutant(
        "checkpoint_without_its_end",
        "A checkpoint that lacks its last piece is loaded, with messages missing.",
        _CHECKPOINTS,
        "        if buffer or crc != manifest.crc:\n",
        "        if False:\n",
        (f"{_CHECKPOINT_TESTS}::test_a_manifest_of_other_pieces_is_found",),
    ),
    Mutant(
        "checkpoint_pieces_do_not_verify",
        "A flipped bit in a checkpoint changes the state.",
        _CHECKPOINTS,
        'if stored.payload[-_CRC_BYTES:] != crc.to_bytes(_CRC_BYTES, "little"):',
        "if False:",
        (f"{_CHECKPOINT_TESTS}::test_a_flipped_bit_is_found",),
    ),
    Mutant(
        "former_owner_removes_newer_checkpoints",
        "A process that comes back after a freeze removes the checkpoints of its successor, whose next start takes longer.",
        _CHECKPOINTS,
        "if _end_of(each) <= mark.end and each != name",
        "if each != name",
        (f"{_CHECKPOINT_TESTS}::test_a_former_owner_removes_nothing_of_its_successor",),
    ),
    Mutant(
        "clock_compared_without_the_round_trip",
        "A slow answer of NATS is taken for a wrong clock, and nobody takes over.",
        _PEERS,
        "max(before_ms - server_ms, 0) + min(after_ms - server_ms, 0)",
        "after_ms - server_ms",
        (f"{_PEER_TESTS}::test_the_clock_is_compared_with_the_leaders",),
    ),
    Mutant(
        "pieces_of_killed_owners_stay",
        "Each owner that is killed while it writes a checkpoint leaves pieces in NATS for ever.",
        _CHECKPOINTS,
        'self._names("*")',
        'self._names("manifest")',
        (f"{_CHECKPOINT_TESTS}::test_the_next_one_removes_what_a_killed_owner_left",),
    ),
    Mutant(
        "reading_counts_as_standing_by",
        "An upgrade stops the owner while the other process cannot take over for minutes.",
        _NODE,
        "        if not self.member.has_read:\n",
        "        if False:\n",
        (f"{_NODE_TESTS}::test_a_stand_by_that_has_not_read_the_log_says_so",),
    ),
    Mutant(
        "collections_of_a_shared_log_take_long",
        "An owner with many groups is silent for the time of a full collection, and loses the log.",
        "wonderq/serve_shared.py",
        "            watch_collections(stack, broker)\n",
        "",
        ("tests/high_availability/test_shared.py::test_full_collections_stay_short_while_a_broker_serves",),
    ),
    Mutant(
        "server_without_sync_is_accepted",
        "A power cut loses messages that were acknowledged.",
        "storage/wonderq_storage/jetstream_stream.py",
        "        if not each.syncs_always:\n",
        "        if False:\n",
        (f"{_PEER_TESTS}::test_servers_that_could_lose_messages_are_refused",),
    ),
    Mutant(
        "gone_part_ends_the_maintenance",
        "After a purge by a former owner, the log is never compacted again.",
        "wonderq/broker/maintenance.py",
        "        except TrimmedError as error:",
        "        except ZeroDivisionError as error:",
        ("tests/broker/test_on_jetstream.py::test_a_part_that_a_former_owner_drops_does_not_end_the_maintenance",),
    ),
    Mutant(
        "reads_use_up_the_room_of_claims",
        "In a full stream, reads take the room without which nothing can be consumed.",
        "storage/wonderq_storage/jetstream_log.py",
        "leave_bytes = self._max_record_bytes * _CONFIRM_LEAVES_EIGHTHS // 8",
        "leave_bytes = 0",
        ("tests/broker/test_on_jetstream.py::test_reads_of_a_full_stream_are_refused_before_claims_are",),
    ),
]
