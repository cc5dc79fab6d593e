"""`wonderq worker`: run the tasks of an app."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from wonderq.cli.arguments import Parser, UsageError, text_from
from wonderq.cli.client_options import count_from, queue_name, seconds_from
from wonderq.cli.exit_codes import OK

if TYPE_CHECKING:
    from wonderq.tasks.app import App
    from wonderq.worker.metrics import WorkerMetrics

log = logging.getLogger("wonderq.worker")

_LEVELS = ("debug", "info", "warning", "error")


def worker(command: Parser) -> None:
    """Describe `wonderq worker`."""
    command.describe(
        "Receive messages and run the tasks of APP for them, until SIGTERM or Ctrl-C. Running tasks then have a grace "
        "to finish; the messages of the others are given back, and the try does not count. A second signal gives all "
        "of them back at once. The broker is that of the app, or WONDERQ_URL and WONDERQ_KEY.",
        run,
    )
    command.add_argument("app", metavar="MODULE:APP", type=text_from, help="the app, such as tasks:app")
    command.add_argument(
        "--queue",
        metavar="NAME[=WEIGHT]",
        type=text_from,
        action="append",
        help="queue to receive from (default: all queues of the tasks); repeatable: the first has precedence, "
        "or with weights all take turns",
    )
    command.add_argument(
        "--concurrency", metavar="N", type=count_from(1), default=4, help="tasks that run at a time (default: 4)"
    )
    command.add_argument(
        "--processes", metavar="N", type=count_from(1), default=1, help="number of processes (default: 1)"
    )
    command.add_argument(
        "--grace", metavar="S", type=seconds_from(0), default=30, help="seconds to finish at a stop (default: 30)"
    )
    command.add_argument("--metrics", metavar="HOST:PORT", type=_address, help="serve Prometheus metrics there")
    command.add_argument("--reload", action="store_true", help="restart when a Python file below this folder changes")
    command.add_argument(
        "--log-level", choices=_LEVELS, default="info", help="least level of log lines (default: info)"
    )
    command.add_argument(
        "--log-format", choices=("console", "json"), default="console", help="form of log lines (default: console)"
    )
    command.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Run the worker, or a supervisor of several."""
    from wonderq.worker.signals import stop_signals  # noqa: PLC0415 - this command only

    # The module of the app may take long to load, and process 1 of a container would ignore SIGTERM meanwhile.
    with stop_signals(_end):
        return _run(options)


def _end(number: signal.Signals) -> NoReturn:
    """End the process while no worker or supervisor handles the signals, whatever the main thread does."""
    log.info("%s: ending, because no task runs", number.name)
    logging.shutdown()
    os._exit(OK)


def _run(options: argparse.Namespace) -> int:
    from wonderq.logs import set_up_logging  # noqa: PLC0415 - loads parts of the server

    queues = _queues(options.queue)
    writer = set_up_logging(options.log_level, options.log_format)
    try:
        if options.processes > 1 or options.reload:
            return _supervise(options)
        return _work(options, queues)
    finally:
        writer.close()


def _work(options: argparse.Namespace, queues: Sequence[str] | Mapping[str, int] | None) -> int:
    from wonderq.client.errors import Invalid  # noqa: PLC0415
    from wonderq.worker.metrics import FOLDER_VARIABLE, WorkerMetrics, served  # noqa: PLC0415
    from wonderq.worker.supervisor import obey_parent  # noqa: PLC0415

    app = load_app(options.app)
    if not app.tasks:
        raise UsageError(
            f"{options.app!r} has no task, so every message would fail. Import the modules that define its tasks in "
            f"the module {options.app.partition(':')[0]!r}"
        )
    metrics: WorkerMetrics | None = None
    with ExitStack() as stack:
        if options.metrics or FOLDER_VARIABLE in os.environ:
            metrics = WorkerMetrics(options.concurrency)
        if options.metrics and metrics is not None:
            with _explain_address():
                stack.enter_context(served(metrics.registry, *options.metrics))
        try:
            worker = app.worker(queues=queues, concurrency=options.concurrency, grace=options.grace, metrics=metrics)
        except ValueError as error:  # of the broker's address or key
            raise UsageError(str(error)) from error
        if options.supervised:
            obey_parent(worker.stop)
        try:
            worker.run(second_hurries=not options.supervised)
        except Invalid as error:
            raise UsageError(" ".join((str(error), *getattr(error, "__notes__", ())))) from error
        finally:
            app.close()
    return OK


def _supervise(options: argparse.Namespace) -> int:
    from wonderq.worker.metrics import forget_process, served, shared_folder, sums_of  # noqa: PLC0415
    from wonderq.worker.source_files import SourceFiles  # noqa: PLC0415
    from wonderq.worker.supervisor import Supervisor  # noqa: PLC0415

    # Python takes kept bytecode for that of a file which was changed in the same second to one of the same size.
    keeping = ["-B"] if options.reload else []
    command = [sys.executable, *keeping, "-m", "wonderq", "worker", options.app, "--supervised"]
    for name in ("concurrency", "grace", "log_level", "log_format"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    for queue in options.queue or ():
        command += ["--queue", queue]
    files = SourceFiles(Path.cwd()) if options.reload else None
    with ExitStack() as stack:
        forget: Callable[[int], None] | None = None
        if options.metrics:
            folder = stack.enter_context(shared_folder())
            with _explain_address():
                stack.enter_context(served(sums_of(folder), *options.metrics))
            forget = partial(forget_process, folder)
        supervisor = Supervisor(command, options.processes, grace_s=options.grace, files=files, forget=forget)
        return supervisor.run()


@contextmanager
def _explain_address() -> Iterator[None]:
    from wonderq.worker.metrics import AddressError  # noqa: PLC0415

    try:
        yield
    except AddressError as error:
        raise UsageError(f"{error}. Choose another address with --metrics; port 0 takes a free one") from error


def load_app(target: str) -> App:
    """Import the app that ``MODULE:APP`` names; without ``:APP``, the only app of the module.

    Raises:
        UsageError: there is no such module or app, or the module raises an error when it is imported.
    """
    from wonderq.tasks.app import App  # noqa: PLC0415 - the client is not loaded for other commands

    module_name, _, name = target.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise UsageError(f"{target!r} is not MODULE:APP, such as tasks:app for the app in tasks.py")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {error.name!r} in {Path.cwd()} or on Python's path. Run the worker in the folder "
                "that contains it"
            ) from error
        traceback.print_exc()
        raise UsageError(f"the module {module_name!r} cannot be imported: {type(error).__name__}: {error}") from error
    apps = [each for each, value in vars(module).items() if isinstance(value, App)]
    if not name and len(apps) == 1:
        [name] = apps
    app = getattr(module, name, None) if name else None
    if isinstance(app, App):
        return app
    hint = f"It has {', '.join(f'{module_name}:{each}' for each in apps)}" if apps else "Make one: app = wonderq.App()"
    what = f"{name!r} of module {module_name!r} is not a wonderq.App" if name else f"{target!r} does not name one app"
    raise UsageError(f"{what}. {hint}")


def _queues(texts: Sequence[str] | None) -> Sequence[str] | Mapping[str, int] | None:
    """Parse the queues of a poll.

    Raises:
        UsageError: some have a weight and others none, or a weight is no number.
    """
    if texts is None:
        return None
    pairs = [text.partition("=") for text in texts]
    weighted = [bool(separator) for _, separator, _ in pairs]
    if any(weighted) != all(weighted):
        raise UsageError("--queue: give each queue a weight (urgent=3), or none of them")
    try:
        names = [queue_name(name) for name, _, _ in pairs]
        if not any(weighted):
            return names
        return {name: count_from(1)(weight) for name, (_, _, weight) in zip(names, pairs, strict=True)}
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--queue: {error}") from error


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9100")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as the command asks for
