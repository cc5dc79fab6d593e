"""Bugs in what a plain installation, and the service manager that starts a broker, rely on."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SERVICE_MANAGER = "wonderq/runtime/service_manager.py"
_TESTS = "tests/cli/test_service_manager.py"
MUTANTS = [
    Mutant(
        "a_broker_is_never_ready",
        "systemd waits for ever, and starts none of the units that come after the broker.",
        "wonderq/serve.py",
        '    notify(f"READY=1\\nSTATUS={line}")\n',
        "",
        (f"{_TESTS}::test_a_broker_is_ready_when_clients_may_connect_and_stopping_after_sigterm",),
        hangs=True,
    ),
    Mutant(
        "a_broker_is_ready_when_its_log_is_not",
        "Units that come after the broker are started while it still reads its log.",
        "wonderq/runtime/signals.py",
        "            self._before[number] = signal.signal(number, handler)\n",
        '            self._before[number] = signal.signal(number, handler)\n        notify("READY=1")\n',
        (f"{_TESTS}::test_a_broker_that_still_starts_is_not_ready",),
    ),
    Mutant(
        "an_abstract_name_is_taken_for_a_path",
        "A service manager whose socket is in no file system is never notified.",
        _SERVICE_MANAGER,
        'f"\\0{address[1:]}" if address.startswith("@") else address',
        "address",
        (f"{_TESTS}::test_an_abstract_name_begins_with_an_at_sign",),
        hangs=True,
    ),
    Mutant(
        "the_broker_waits_for_the_service_manager",
        "A service manager that reads no notifications stops the broker.",
        _SERVICE_MANAGER,
        "            sender.setblocking(False)\n",
        "",
        (f"{_TESTS}::test_a_reader_that_is_too_slow_holds_nothing_up",),
        hangs=True,
    ),
    Mutant(
        "tasks_need_a_library_of_an_extra",
        "After a plain installation no worker starts.",
        "wonderq/tasks/app.py",
        "if TYPE_CHECKING:\n    from wonderq.client.asynchronous",
        "if True:\n    from wonderq.client.asynchronous",
        ("tests/worker/test_middleware.py::test_tasks_run_without_the_libraries_of_the_extras",),
    ),
]
