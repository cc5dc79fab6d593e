"""Bugs in clusters: who owns a shard, what the nodes share, and where a request goes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_STEWARD = "wonderq/cluster/steward.py"
_ROSTER = "wonderq/cluster/roster.py"
_SHARD = "wonderq/cluster/shard.py"
_NODE = "wonderq/cluster/node.py"
_CHARTER = "wonderq/cluster/charter.py"
_KEYS = "wonderq/cluster/keys.py"
_PLACEMENT = "wonderq/cluster/placement.py"
_VALUES = "storage/wonderq_storage/jetstream_values.py"
_CHILD = "storage/wonderq_storage/nats/child_server.py"
_TLS_FILES = "storage/wonderq_storage/nats/tls_files.py"
_BACKGROUND = "wonderq/broker/background.py"

_STEWARD_TESTS = "tests/cluster/test_steward.py"
_SHARD_TESTS = "tests/cluster/test_shard.py"
_NODE_TESTS = "tests/cluster/test_node.py"
_CHARTER_TESTS = "tests/cluster/test_charter.py"
_KEYS_TESTS = "tests/cluster/test_keys.py"
_PLACEMENT_TESTS = "tests/cluster/test_placement.py"
_NATS_SERVERS_TESTS = "tests/cluster/test_nats_servers.py"

MUTANTS = [
    Mutant(
        "shard_taken_from_an_owner_that_is_heard",
        "A shard moves between nodes that both work, as often as they announce themselves.",
        _STEWARD,
        "            elif owner is not None or self.roster.is_kept(shard, self.node, now_s):\n",
        "            elif owner is not None and owner.offered_to is not None:\n",
        (f"{_STEWARD_TESTS}::test_a_node_that_returns_gets_its_shards_back_one_after_the_other",),
    ),
    Mutant(
        "shard_taken_without_listening",
        "A node that was cut off takes shards of owners that it has not heard yet.",
        _STEWARD,
        "        if not has_listened and not is_released:\n",
        "        if False:\n",
        (f"{_STEWARD_TESTS}::test_a_node_that_starts_listens_before_it_takes_anything",),
    ),
    Mutant(
        "lost_shard_is_taken_back",
        "A node that was slow takes its shards back at once, and is slow again.",
        _STEWARD,
        "        self._keep_off_until_s[shard] = now_s + KEEP_OFF_S\n",
        "        self._keep_off_until_s[shard] = now_s\n",
        (f"{_STEWARD_TESTS}::test_a_node_that_lost_a_shard_leaves_it_to_the_others",),
    ),
    Mutant(
        "wrong_clock_owns_shards",
        "A node whose clock is a day ahead takes shards, and their time never goes back.",
        _STEWARD,
        "self.is_clock_off(now_s) or self.is_unheard(now_s) else",
        "self.is_unheard(now_s) else",
        (f"{_STEWARD_TESTS}::test_a_node_with_a_wrong_clock_owns_nothing",),
    ),
    Mutant(
        "hand_over_before_the_next_owner_is_ready",
        "A planned hand-over takes as long as the next owner needs to read the log.",
        _STEWARD,
        "            elif shard in peers[target].newest.warm:\n",
        "            elif True:\n",
        (f"{_STEWARD_TESTS}::test_a_shard_is_handed_over_only_when_the_next_owner_has_read_it",),
    ),
    Mutant(
        "offer_ends_before_the_shard_is_closed",
        "The next owner forgets what it has read just before it gets the shard.",
        _STEWARD,
        "                return []  # the next owner waits for the end, so the offer stays\n",
        "                self.offered = None\n                return []\n",
        (f"{_STEWARD_TESTS}::test_the_next_owner_waits_while_the_shard_is_closed",),
    ),
    Mutant(
        "promised_shard_waits",
        "A transferred shard has no owner until the next one has read the placement.",
        _STEWARD,
        "        if is_released and self._is_promised[shard]:\n",
        "        if False:\n",
        (f"{_STEWARD_TESTS}::test_a_node_takes_what_was_offered_before_it_knows_why",),
    ),
    Mutant(
        "shards_move_at_once",
        "A node that restarts gets its shards back, and loses them again, at each restart.",
        _STEWARD,
        "                if is_urgent or now_s - steady_since_s >= STEADY_S:\n",
        "                if True:\n",
        (f"{_STEWARD_TESTS}::test_a_node_that_returns_gets_its_shards_back_one_after_the_other",),
    ),
    Mutant(
        "former_owner_of_a_shard_is_heard",
        "A node that was frozen is taken for the owner again, so clients are sent to it.",
        _ROSTER,
        " of.epoch >= self.newest_epoch[shard]\n",
        " of.epoch >= 0\n",
        (f"{_NODE_TESTS}::test_a_former_owner_is_not_taken_for_the_owner",),
    ),
    Mutant(
        "shard_released_before_it_is_closed",
        "The next node takes a shard whose last records are not acknowledged yet.",
        _SHARD,
        "            with self._own(self) as owned:\n                self._serve(owned)\n            self._end_in_order(owned.log)\n",
        "            with self._own(self) as owned:\n                self._serve(owned)\n                self._end_in_order(owned.log)\n",
        (f"{_SHARD_TESTS}::test_a_shard_that_is_released_is_closed_before_the_others_hear_of_it",),
    ),
    Mutant(
        "broker_kept_after_a_fence",
        "A node that lost a shard goes on answering requests with its old state.",
        _SHARD,
        "                self.owned = None  # at once, so that no request begins that could not be finished\n",
        "",
        (f"{_SHARD_TESTS}::test_a_shard_that_is_lost_is_dropped",),
    ),
    Mutant(
        "damaged_shard_is_tried_again",
        "A shard whose log is damaged is taken over again and again, and nobody is told.",
        _SHARD,
        '            end, trouble = "damaged", str(error)\n',
        "            trouble = str(error)\n",
        (f"{_SHARD_TESTS}::test_a_log_that_cannot_be_read_ends_all_attempts",),
    ),
    Mutant(
        "node_that_is_too_old_calls_a_shard_damaged",
        "During a rolling upgrade, an old node alarms everybody about a log that is whole, and others refuse its queues.",
        _SHARD,
        'end, trouble = "outdated", ',
        'end, trouble = "damaged", ',
        (
            f"{_SHARD_TESTS}::test_a_log_of_a_newer_version_is_left_to_newer_nodes",
            "tests/cluster/test_node.py::test_a_node_that_is_too_old_for_a_shard_says_so_and_leaves_it_to_others",
        ),
    ),
    Mutant(
        "node_that_is_too_old_tries_for_ever",
        "An old node reads the whole log of a newer one each second.",
        _SHARD,
        'end, trouble = "outdated", ',
        "trouble = ",
        (f"{_SHARD_TESTS}::test_a_log_of_a_newer_version_is_left_to_newer_nodes",),
    ),
    Mutant(
        "lost_stream_begins_anew",
        "NATS servers that lost the log of a shard begin an empty one, and nobody notices.",
        _SHARD,
        "        if known and known != log_id:\n",
        "        if False:\n",
        (f"{_SHARD_TESTS}::test_a_log_that_is_not_the_one_that_others_know_is_damage",),
    ),
    Mutant(
        "node_takes_what_it_has_just_released",
        "A node that stops takes its own shards again, and the others wait for it.",
        _NODE,
        "            self._steward.is_draining = True  # or this node would take what it has just released\n",
        "            pass\n",
        (f"{_NODE_TESTS}::test_a_stop_announces_what_was_released",),
    ),
    Mutant(
        "only_the_shared_values_show_a_quorum",
        "When a machine dies, a load balancer takes all other nodes out for seconds, although they serve most shards.",
        _NODE,
        "            self._stored_s = self._quorum_s = time.monotonic()\n",
        "            self._stored_s = time.monotonic()\n",
        (f"{_NODE_TESTS}::test_what_own_shards_store_shows_a_quorum",),
    ),
    Mutant(
        "one_shard_that_waits_makes_a_node_unready",
        "While the log of one shard elects a leader, a load balancer takes out a node that serves others.",
        _NODE,
        "            return time.monotonic() - self._stored_s <= NO_QUORUM_S\n",
        "            return False\n",
        (f"{_NODE_TESTS}::test_a_shard_that_waits_takes_no_node_out_that_stores_for_others",),
    ),
    Mutant(
        "answers_show_a_quorum_while_a_shard_waits",
        "A node that is cut off with a NATS server that still answers stays in the load balancer.",
        _NODE,
        "            return time.monotonic() - self._stored_s <= NO_QUORUM_S\n",
        "            return time.monotonic() - self._quorum_s <= _QUORUM_S\n",
        (f"{_NODE_TESTS}::test_what_waits_for_long_is_refused",),
    ),
    Mutant(
        "request_for_a_shard_without_quorum",
        "Requests of a shard that can store nothing wait for half a minute.",
        _NODE,
        '            return None if self.has_quorum_for(shard) else _refusal("no_quorum", _NO_QUORUM)\n',
        "            return None\n",
        (f"{_NODE_TESTS}::test_a_request_of_a_shard_that_can_store_nothing_is_refused",),
    ),
    Mutant(
        "node_of_another_cluster_joins",
        "A node with a wrong --peers joins another cluster with the data of its own.",
        _CHARTER,
        "    if kept is not None and kept.cluster_id != charter.cluster_id:\n",
        "    if False:\n",
        (f"{_CHARTER_TESTS}::test_a_node_of_another_cluster_is_refused_with_both_ids",),
    ),
    Mutant(
        "node_with_a_long_address_is_not_heard",
        "No node hears one with a long --public-url, so its shards have no owner for them.",
        "wonderq/cluster/announcements.py",
        "_is_text(found.url, _MAX_URL_CHARACTERS)",
        "_is_text(found.url)",
        (
            "tests/cluster/test_announcements.py::test_a_node_is_heard_with_the_longest_address_that_its_settings_may_give",
        ),
    ),
    Mutant(
        "renamed_node_loses_its_copies",
        "A node that is started with another name on its folder loses its copies of all logs.",
        "wonderq/serve_cluster/nats_servers.py",
        "    if former not in (None, name):\n",
        "    if False:\n",
        ("tests/cluster/test_settings.py::test_a_folder_with_copies_of_logs_is_refused_under_another_name",),
    ),
    Mutant(
        "cluster_is_made_again",
        "NATS servers that lost their data are taken for a new cluster, and all queues are gone.",
        _CHARTER,
        "        if kept is not None:\n            raise CharterError(\n",
        "        if False:\n            raise CharterError(\n",
        (f"{_CHARTER_TESTS}::test_a_node_with_a_cluster_does_not_make_a_new_one",),
    ),
    Mutant(
        "revoked_key_returns",
        "A key that was revoked on one node comes back from another one.",
        _KEYS,
        "    kept = [each for each in shared if each.id in local_ids or each.id not in base_ids]\n",
        "    kept = [*shared]\n",
        (f"{_KEYS_TESTS}::test_a_key_that_is_revoked_on_one_node_is_gone_on_all",),
    ),
    Mutant(
        "missing_key_file_revokes_all",
        "A node whose key file is gone revokes the keys of all nodes, and the next one that restarts is open to everybody.",
        _KEYS,
        "        elif stamp is None or synced_stamp is None:\n",
        "        elif synced_stamp is None:\n",
        (f"{_KEYS_TESTS}::test_a_node_whose_key_file_is_gone_gets_the_keys_and_revokes_none",),
    ),
    Mutant(
        "emptied_folder_brings_revoked_keys_back",
        "A key that was revoked long ago is valid again after a node gets an empty folder.",
        _KEYS,
        "        elif stamp is None or synced_stamp is None:\n",
        "        elif stamp is None:\n",
        (f"{_KEYS_TESTS}::test_a_key_that_was_revoked_before_the_folder_was_emptied_stays_revoked",),
    ),
    Mutant(
        "revoked_key_looks_like_one_that_was_added",
        "A node whose disk was full for a moment brings a key back that was revoked, for the whole cluster.",
        _KEYS,
        "{*base_ids, *shared_ids, *revoked}",
        "{*base_ids, *shared_ids}",
        (
            f"{_KEYS_TESTS}::test_a_revoked_key_does_not_come_back_from_a_node_that_could_not_record_that_it_has_it",
            f"{_KEYS_TESTS}::test_an_old_key_file_does_not_bring_revoked_keys_back",
        ),
    ),
    Mutant(
        "node_starts_without_keys",
        "A node on a full disk starts without the keys of its cluster, and serves everybody.",
        _KEYS,
        "        except (StorageError, ValueError) as error:\n            self._tell(str(error))\n            return False\n",
        "        except KeysError:\n            return True\n"
        "        except (StorageError, ValueError) as error:\n            self._tell(str(error))\n            return False\n",
        (f"{_KEYS_TESTS}::test_a_node_that_cannot_store_the_keys_does_not_start",),
    ),
    Mutant(
        "uneven_shards",
        "One node gets most of the shards.",
        _PLACEMENT,
        "        node = next((node for node in ranked if room[node] >= least), ranked[0])\n",
        "        node = ranked[0]\n",
        (f"{_PLACEMENT_TESTS}::test_each_node_gets_an_equal_part",),
    ),
    Mutant(
        "value_is_overwritten",
        "Two changes of the keys at the same time: one of them is lost.",
        _VALUES,
        '            "Nats-Expected-Last-Subject-Sequence": str(revision),\n',
        "",
        ("tests/storage/test_jetstream_values.py::test_a_value_that_was_changed_is_not_overwritten",),
    ),
    Mutant(
        "password_for_everybody",
        "Every user of the machine can read the password of the NATS server.",
        _CHILD,
        "os.O_TRUNC, 0o600)",
        "os.O_TRUNC, 0o644)",
        ("tests/storage/test_child_server.py::test_others_cannot_read_its_password",),
    ),
    Mutant(
        "routes_without_tls",
        "The messages of all queues cross the network in the clear, although the nodes have certificates.",
        _CHILD,
        'f", tls {{ {self._tls_fields(self._tls)} }}"',
        '""',
        ("tests/storage/test_child_server.py::test_a_server_needs_a_certificate_of_the_authority_to_join",),
    ),
    Mutant(
        "certificates_are_read_once",
        "A node must be restarted before its certificate ends, or no other one reaches it any more.",
        _CHILD,
        "            process.send_signal(signal.SIGHUP)\n",
        "            process.send_signal(0)\n",
        (
            "tests/storage/test_child_server.py::test_a_renewed_certificate_is_used_after_a_reload_and_a_damaged_one_is_not",
        ),
    ),
    Mutant(
        "damaged_certificate_is_loaded",
        "A node with a wrong key reports nothing when it reads its certificate again.",
        _CHILD,
        "        self._tls.context()\n",
        "",
        (
            "tests/storage/test_child_server.py::test_a_renewed_certificate_is_used_after_a_reload_and_a_damaged_one_is_not",
        ),
    ),
    Mutant(
        "removed_authority_stays_trusted",
        "A node connects to NATS servers of an authority that was removed because its key leaked.",
        _TLS_FILES,
        "        # A new context: one that exists keeps each authority it has had, and half of what cannot be used.\n"
        "        self._context = self._files.context()\n",
        "        self._context.load_verify_locations(self._files.authority)\n",
        (f"{_NATS_SERVERS_TESTS}::test_an_authority_that_is_removed_is_trusted_no_more",),
    ),
    Mutant(
        "half_of_a_renewal_is_used",
        "A node whose certificate was renewed before its key loses its NATS servers, although it says that it keeps both.",
        _TLS_FILES,
        "        # A new context: one that exists keeps each authority it has had, and half of what cannot be used.\n"
        "        self._context = self._files.context()\n",
        "        self._context.load_cert_chain(self._files.certificate or '', self._files.key)\n",
        (f"{_NATS_SERVERS_TESTS}::test_files_that_cannot_be_used_leave_the_former_ones_in_use",),
    ),
    Mutant(
        "stop_during_the_start_leaves_the_nats_server",
        "A node that is stopped while it starts leaves a NATS server behind, which keeps its ports and its vote.",
        _CHILD,
        "        self._thread.start()\n        self._launched.result()\n",
        "        self._launch()\n",
        (f"{_NATS_SERVERS_TESTS}::test_a_stop_at_any_moment_of_the_start_ends_the_server",),
    ),
    Mutant(
        "stop_of_the_nats_server_is_planned_after_its_start",
        "A node that is stopped while it starts leaves a NATS server behind, which keeps its ports and its vote.",
        "wonderq/serve_cluster/nats_servers.py",
        "    stack.callback(server.stop)  # before the start, in which a signal can raise its exception\n",
        "    stack.push(lambda kind, *_: server.stop() if kind is None else None)\n",
        (f"{_NATS_SERVERS_TESTS}::test_a_stop_at_any_moment_of_the_start_ends_the_server",),
    ),
    Mutant(
        "unheard_owner_stays",
        "Clients at most of the nodes get 503 for the shards of an owner that only a few nodes hear, until a person acts.",
        _STEWARD,
        "                elif self.is_unheard(now_s) or (",
        "                elif (",
        (f"{_STEWARD_TESTS}::test_an_owner_that_a_minority_hears_steps_down_although_nobody_takes_its_shards",),
    ),
    Mutant(
        "one_of_two_is_unheard",
        "Of two nodes, the one that the other does not hear gives everything up, also what nobody else can take.",
        _STEWARD,
        "2 * hearing >= nodes",
        "2 * hearing > nodes",
        (f"{_STEWARD_TESTS}::test_of_two_nodes_none_steps_down",),
    ),
    Mutant(
        "steps_down_for_nobody",
        "An owner gives up its shards although no other node can own them.",
        _STEWARD,
        "not is_connected or not can_others_own or",
        "not is_connected or",
        (f"{_STEWARD_TESTS}::test_an_owner_stays_if_nobody_else_can_own_its_shards",),
    ),
    Mutant(
        "shard_taken_from_an_owner_that_others_hear",
        "Two nodes that do not hear each other take their shards from each other all the time.",
        _STEWARD,
        " or self.roster.is_kept(shard, self.node, now_s):\n",
        ":\n",
        (f"{_STEWARD_TESTS}::test_an_owner_that_half_of_the_nodes_hear_keeps_its_shards",),
    ),
    Mutant(
        "what_others_have_heard_does_not_age",
        "A shard waits longer for its next owner, because the nodes believe each other that the dead one lives.",
        _ROSTER,
        "now_s - self.heard_s + ago_ms / 1000 < SUSPECT_S",
        "now_s - self.heard_s < SUSPECT_S",
        ("tests/cluster/test_roster.py::test_what_others_have_heard_ages",),
    ),
    Mutant(
        "balance_without_agreement",
        "Nodes that do not all hear each other give shards to each other all the time.",
        _STEWARD,
        " or not self.roster.agrees(self.node, now_s):\n",
        ":\n",
        (f"{_STEWARD_TESTS}::test_nothing_moves_for_balance_while_some_nodes_do_not_hear_each_other",),
    ),
    Mutant(
        "older_transfer_moves_a_shard_back",
        "Two transfers in a row move a shard back and forth for up to a second.",
        _STEWARD,
        " and now_s - owned_since_s >= PLACEMENT_S",
        "",
        (f"{_STEWARD_TESTS}::test_a_node_that_still_has_an_older_pin_does_not_give_the_shard_back",),
    ),
    Mutant(
        "shards_wait_for_each_other",
        "A shard whose log hangs stops the background work of all other shards.",
        _BACKGROUND,
        "            self._pool.submit(self._turn, loop)\n",
        "            self._turn(loop)\n",
        ("tests/broker/test_rounds.py::test_a_loop_that_is_held_up_does_not_hold_up_the_others",),
    ),
    Mutant(
        "queue_of_another_shard",
        "Dead letters go to a queue of the wrong shard, where nobody can receive them.",
        "wonderq/broker/core.py",
        "        if not self.has_name(name):\n",
        "        if False:\n",
        ("tests/broker/test_names_of_a_shard.py::test_a_queue_of_another_shard_is_refused",),
    ),
    Mutant(
        "full_log_keeps_a_shard_that_was_lost",
        "A node that lost a shard while its log was full refuses its requests for ever, and passes none on.",
        _SHARD,
        'raise LogFailedError("The log is full, and another node seems to own it.") from error',
        'logger.info("shard %d: %s", self.number, error)',
        (f"{_SHARD_TESTS}::test_a_deposed_owner_whose_log_is_full_ends",),
    ),
    Mutant(
        "nats_server_stays_down_after_a_failed_start",
        "A node that has no descriptor free when its NATS server ends stays without one.",
        _CHILD,
        "except OSError as error:  # no descriptor",
        "except ZeroDivisionError as error:  # no descriptor",
        ("tests/storage/test_child_server.py::test_it_is_started_again_when_the_system_has_room_for_a_process_again",),
    ),
    Mutant(
        "namesake_counts_as_a_node_of_its_own",
        "While two processes have one name, their node shares the shards out otherwise than all others.",
        _STEWARD,
        "sorted({*able, self.node} if",
        "sorted([*able, self.node] if",
        (f"{_STEWARD_TESTS}::test_another_process_of_the_same_name_counts_once",),
    ),
    Mutant(
        "hand_over_waits_for_a_checkpoint",
        "Nobody serves a shard that is handed over until a large checkpoint is written, which takes seconds.",
        "wonderq/broker/maintenance.py",
        "lambda: self._gives_up)",
        "lambda: False)",
        (
            (
                "tests/broker/test_maintenance.py"
                "::test_a_stop_gives_up_a_checkpoint_under_way_unless_it_is_to_write_one[False]"
            ),
        ),
    ),
]
