"""Bugs in the command line: what asks, what it prints, and what it loads."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ARGUMENTS = "wonderq/cli/arguments.py"
_CONFIRMATION = "wonderq/cli/confirmation.py"
_SIGNALS = "wonderq/runtime/signals.py"
_SIGNAL_TESTS = "tests/cli/test_signals.py"

MUTANTS = [
    Mutant(
        "a_pause_makes_queues",
        "A pause of a name with a typing error succeeds, and the queue goes on.",
        "wonderq/cli/queues.py",
        "        if is_there:\n",
        "        if False:\n",
        ("tests/cli/test_queue_commands.py::test_what_does_not_exist_is_not_made_by_a_pause",),
    ),
    Mutant(
        "a_pipe_confirms_what_destroys",
        "A script with a wrong variable purges a queue without a question.",
        _CONFIRMATION,
        "    if options.yes:\n",
        "    if options.yes or not is_terminal(sys.stdin):\n",
        ("tests/cli/test_confirmation.py::test_without_a_terminal_nothing_is_done",),
    ),
    Mutant(
        "any_answer_is_yes",
        "Somebody presses Enter to get rid of the question, and the queue is purged.",
        _CONFIRMATION,
        'not in ("y", "yes")',
        'in ("n", "no")',
        ("tests/cli/test_confirmation.py::test_on_a_terminal_somebody_is_asked",),
    ),
    Mutant(
        "a_queue_is_deleted_before_the_question",
        "The answer no comes too late.",
        "wonderq/cli/queues.py",
        '        confirm(options, f"delete the queue {options.queue} and all its messages")\n        client.queue(options.queue).drop()\n',
        '        client.queue(options.queue).drop()\n        confirm(options, f"delete the queue {options.queue} and all its messages")\n',
        ("tests/cli/test_confirmation.py::test_without_a_terminal_nothing_is_done",),
    ),
    Mutant(
        "an_error_reaches_the_terminal_as_it_is",
        "A name that a client chose clears the screen, or imitates the output of the command.",
        _ARGUMENTS,
        "{printable(message.removesuffix('.'))}",
        "{message.removesuffix('.')}",
        ("tests/cli/test_encodings.py::test_an_error_cannot_control_a_terminal",),
    ),
    Mutant(
        "fields_behind_an_option_are_forgotten",
        "`queue set mail --json max_receives=5` reports success and changes nothing.",
        _ARGUMENTS,
        "        setattr(options, last.dest, [*getattr(options, last.dest), *more])\n",
        "",
        ("tests/cli/test_usage.py::test_options_stand_anywhere_among_the_arguments",),
    ),
    Mutant(
        "options_may_be_abbreviated",
        "`serve --key KEY` takes the key for the file of keys, and logs it.",
        _ARGUMENTS,
        "allow_abbrev=False",
        "allow_abbrev=True",
        ("tests/cli/test_usage.py::test_options_cannot_be_abbreviated",),
    ),
    Mutant(
        "a_client_loads_the_server",
        "Each command takes four times as long.",
        "wonderq/cli/client_options.py",
        "from wonderq.model.queue_names import DEFAULT_QUEUE\n",
        "from wonderq.broker.core import DEFAULT_QUEUE\n",
        ("tests/cli/test_start.py::test_a_client_loads_no_server",),
    ),
    Mutant(
        "a_failed_delete_is_reported_as_done",
        "A script takes a message for deleted that another consumer has.",
        "wonderq/cli/streams.py",
        '"deleted": error is None',
        '"deleted": True',
        ("tests/cli/test_json.py::test_the_fields_of_each_command",),
    ),
    Mutant(
        "a_message_of_a_schedule_is_read_as_json",
        "A schedule whose message is the text 5 cannot be set.",
        "wonderq/cli/schedules.py",
        "fields_from(options.fields, _TEXTS)",
        "fields_from(options.fields)",
        ("tests/cli/test_task_commands.py::test_schedules",),
    ),
    Mutant(
        "signals_after_a_swallowed_stop_are_ignored",
        "A node that waits for the others of its cluster cannot be stopped, if its first SIGTERM came in a destructor.",
        _SIGNALS,
        "_is_unwinding() if self._stop is None else self._stopping",
        "self._stopping",
        (f"{_SIGNAL_TESTS}::test_the_signal_after_one_whose_exception_was_swallowed_ends_the_start",),
    ),
    Mutant(
        "hangup_during_the_start_is_lost",
        "A node whose certificate was renewed while it started fails when the former one ends.",
        _SIGNALS,
        "        elif self._hung_up:\n            reload()\n",
        "",
        (f"{_SIGNAL_TESTS}::test_a_hangup_during_the_start_counts_once_the_broker_is_ready",),
    ),
    Mutant(
        "second_signal_interrupts_the_end_of_a_start",
        "Ctrl-C pressed twice leaves behind what the first one was ending, such as a NATS server.",
        _SIGNALS,
        "_is_unwinding() if self._stop is None else self._stopping",
        "self._stop is not None and self._stopping",
        (f"{_SIGNAL_TESTS}::test_further_signals_do_not_interrupt_the_end_of_a_start",),
    ),
    Mutant(
        "a_signal_handler_waits_for_its_own_thread",
        "`wonderq nats serve` sometimes hangs when it is stopped, and only SIGKILL ends it.",
        "wonderq/cli/nats.py",
        "threading.Thread(target=stopping.set, daemon=True).start()",
        "stopping.set()",
        ("tests/cli/test_nats.py::test_a_stop_counts_at_any_step_of_the_wait_for_it",),
    ),
]
