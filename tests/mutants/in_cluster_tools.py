"""Bugs in the tools for the logs of a cluster: copies that lack something, and removals that lose something."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_READER = "storage/wonderq_storage/jetstream_reader.py"
_LOGS = "wonderq/cluster_tools/logs.py"
_FOLDERS = "wonderq/cluster_tools/folders.py"
_BACKUP = "wonderq/cluster_tools/backup.py"
_RESTORE = "wonderq/cluster_tools/restore.py"
_CHECK = "wonderq/cluster_tools/check.py"
_REPLACE = "wonderq/cluster_tools/replace.py"
_IMPORT = "wonderq/folder/import_.py"

_FOLDERS_TESTS = "tests/cluster_tools/test_folders.py"
_BACKUP_TESTS = "tests/cluster_tools/test_backup.py"
_RESTORE_TESTS = "tests/cluster_tools/test_restore.py"
_CHECK_TESTS = "tests/cluster_tools/test_check.py"
_REPLACE_TESTS = "tests/cluster_tools/test_replace.py"

MUTANTS = [
    Mutant(
        "newest_backup_is_removed",
        "After the clock was set back, --keep removes the backup that was just made.",
        "wonderq/cluster_tools/backup.py",
        "key=lambda each: (_number_of(each), each.name)",
        "key=lambda each: each.name",
        ("tests/cluster_tools/test_backup.py::test_the_newest_is_told_also_after_the_clock_was_set_back",),
    ),
    Mutant(
        "copy_lacks_acknowledged_messages",
        "A backup of servers that lost messages passes for a complete one.",
        _READER,
        "        if info.last_sequence < known:\n",
        "        if False:\n",
        (f"{_FOLDERS_TESTS}::test_a_log_that_ends_before_an_acknowledged_message_is_refused",),
    ),
    Mutant(
        "copy_of_another_log",
        "A backup of a stream that was made anew passes for one of the stream that is gone.",
        _LOGS,
        "        if other != log_id:\n",
        "        if False:\n",
        (f"{_FOLDERS_TESTS}::test_another_log_than_the_nodes_know_is_refused",),
    ),
    Mutant(
        "moved_beginning_ends_the_copy",
        "A backup fails whenever a node compacts a log meanwhile.",
        _FOLDERS,
        "            if after is not None or attempt == _MOST_READINGS - 1:\n",
        "            if True:\n",
        (f"{_FOLDERS_TESTS}::test_the_beginning_of_the_log_is_dropped_while_it_is_read",),
    ),
    Mutant(
        "backup_is_not_verified",
        "A backup that cannot be restored is kept, and the older ones are removed.",
        _FOLDERS,
        "    if findings.problems:\n",
        "    if False:\n",
        (f"{_BACKUP_TESTS}::test_a_copy_that_does_not_verify_is_no_backup",),
    ),
    Mutant(
        "backup_begins_anew_each_time",
        "Each backup reads the whole cluster.",
        _BACKUP,
        "        if _is_worth_continuing(logs, shard, before):\n",
        "        if False:\n",
        (f"{_BACKUP_TESTS}::test_the_next_backup_reads_only_what_is_new",),
    ),
    Mutant(
        "backup_continues_a_folder_that_was_used",
        "Messages of a broker that somebody tried a backup with are restored.",
        _BACKUP,
        "                if found.records == manifest.records[shard] + found.copied:\n",
        "                if True:\n",
        (f"{_BACKUP_TESTS}::test_a_backup_on_which_a_broker_has_run_is_not_continued",),
    ),
    Mutant(
        "segment_in_use_is_shared",
        "The next backup writes into the one before.",
        _BACKUP,
        "_CHANGING_SEGMENTS = 2\n",
        "_CHANGING_SEGMENTS = 0\n",
        (f"{_BACKUP_TESTS}::test_the_next_backup_reads_only_what_is_new",),
    ),
    Mutant(
        "restore_over_a_cluster",
        "A restore by mistake changes what the nodes of a running cluster know.",
        _RESTORE,
        "    if values.exists and values.get(CHARTER) is not None:\n",
        "    if False:\n",
        (f"{_RESTORE_TESTS}::test_a_cluster_that_is_there_is_not_changed",),
    ),
    Mutant(
        "restore_leaves_logs",
        "A restore that fails cannot be repeated.",
        _RESTORE,
        "        _remove(jetstream, charter)\n",
        "",
        (f"{_RESTORE_TESTS}::test_nothing_is_left_of_a_restore_that_fails",),
    ),
    Mutant(
        "restore_without_keys",
        "A restored cluster permits everything to everybody.",
        _RESTORE,
        "        if keys is not None:\n",
        "        if False:\n",
        (f"{_RESTORE_TESTS}::test_contents_claims_ids_and_receipts_are_those_of_the_backup",),
    ),
    Mutant(
        "check_reads_the_leader_only",
        "A damaged copy is noticed when the other two are lost.",
        _CHECK,
        "LogReader(JetStream(connection), stream, copy_of=server, patience_s=_COPY_S)\n",
        "logs.reader(shard)\n",
        (f"{_CHECK_TESTS}::test_a_copy_that_is_damaged_is_found_although_the_leader_is_whole",),
    ),
    Mutant(
        "replaced_while_another_copy_is_behind",
        "Removing a server removes the only copy of acknowledged messages.",
        _REPLACE,
        "        if replicas.leader is None or bad:\n",
        "        if False:\n",
        (f"{_REPLACE_TESTS}::test_nothing_is_removed_while_another_copy_is_not_whole",),
    ),
    Mutant(
        "replaced_while_another_server_is_missing",
        "Removing a server leaves too few to elect a leader.",
        _REPLACE,
        "        if missing:\n",
        "        if False:\n",
        (f"{_REPLACE_TESTS}::test_nothing_is_removed_while_another_server_does_not_answer",),
    ),
    Mutant(
        "server_that_works_is_replaced",
        "A typing error removes the wrong server for ever.",
        _REPLACE,
        "        if old in self._logs.nodes or old in answering:\n",
        "        if False:\n",
        (f"{_REPLACE_TESTS}::test_a_server_that_answers_is_not_replaced",),
    ),
    Mutant(
        "import_forgets_what_it_did",
        "An import that is repeated after an interruption doubles messages.",
        _IMPORT,
        "            first = msgspec.structs.replace(first, deduplication_window=_LONGEST_WINDOW_S)\n",
        "            pass\n",
        ("tests/tools/test_cluster_import.py::test_an_import_that_was_interrupted_is_repeated",),
    ),
    Mutant(
        "import_that_has_ended_is_made_again",
        "A second import of the same folder doubles its messages once the keys are forgotten.",
        _IMPORT,
        "            if mark in tags:\n",
        "            if False:\n",
        ("tests/tools/test_cluster_import.py::test_an_import_that_has_ended_is_recognized",),
    ),
    Mutant(
        "import_forgets_the_marks_of_others",
        "After the import of a second folder into the same queue, the first one can be imported again.",
        _IMPORT,
        "            item.tags = ({} if isinstance(item.tags, UnsetType) else item.tags) | marks\n",
        "            item.tags = {} if isinstance(item.tags, UnsetType) else item.tags\n",
        ("tests/tools/test_cluster_import.py::test_another_folder_with_the_same_queues_is_imported_besides",),
    ),
    Mutant(
        "export_leaves_schedules_out",
        "A broker that is moved by export and import does its nightly work no more.",
        "wonderq/folder/export.py",
        "        for name, entry in sorted(state.metadata.get(SCHEDULES, {}).items()):\n",
        "        for name, entry in ():\n",
        ("tests/tools/test_cluster_import.py::test_schedules_are_imported_with_their_next_time",),
    ),
]
