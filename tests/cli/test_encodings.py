"""Text in any locale, bytes that are no text, and what a terminal must not be sent: each gives a sentence, not a traceback."""

from __future__ import annotations

import ast
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import COMMAND, Outcome, Wonderq, clean_environment, run, run_process
from tests.support.needs import needs_path
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.cli import failures
from wonderq.cli.exit_codes import USAGE
from wonderq.terminal import printable

#: Python's own ways around a locale that is not UTF-8.
NO_UTF8_MODE = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
COMPILED_LOCALES = {"ja_JP.EUC-JP": ("ja_JP", "EUC-JP"), "zh_CN.GB18030": ("zh_CN", "GB18030")}
LOCALES = ["C", *(pytest.param(name, marks=pytest.mark.slow) for name in COMPILED_LOCALES)]

NO_TEXT = b"\xff\xfe\xe9"
UTF8 = "é日本".encode()


@pytest.fixture(scope="module", params=LOCALES)
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Variables that set a locale, which is compiled if the system has its source."""
    made, about = tmp_path_factory.mktemp("locales"), COMPILED_LOCALES.get(request.param)
    if about is not None:
        source, charmap = about
        if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales", source).exists():
            pytest.skip("locales cannot be compiled here")
        subprocess.run(["localedef", "-i", source, "-f", charmap, str(made / request.param)], check=True)
    return {**NO_UTF8_MODE, "LC_ALL": request.param, "LOCPATH": str(made)}


@pytest.mark.slow
def test_text_is_the_same_in_every_locale(locale: Mapping[str, str], client: QueueClient, tmp_path: Path) -> None:
    """A broker starts, and commands and tools print UTF-8."""
    broker = ("--url", client.url, "--queue", client.queue)
    assert run_process("send", *broker, "--quiet", stdin=UTF8, environment=locale).code == 0
    shown = run_process("peek", *broker, environment=locale)
    assert shown.out.rstrip().split(b"\t")[1] == UTF8
    line = b'{"type":"message","queue":"q","message":"%s"}\n' % UTF8
    assert run_process("folder", "import", str(tmp_path / "d"), stdin=line, environment=locale).code == 0
    assert UTF8 in run_process("folder", "export", str(tmp_path / "d"), environment=locale).out
    assert run_process("folder", "verify", str(tmp_path / "d"), environment=locale).code == 0
    done = run_process("serve", "--listen", "127.0.0.1:0", "--data", "/proc/wonderq", environment=locale)
    assert done.error.startswith("wonderq: cannot use /proc/wonderq: ")


def test_utf8_in_another_locale_gives_no_traceback(locale: Mapping[str, str], client: QueueClient) -> None:
    """Some systems decode an argument to characters that Python cannot encode again."""
    broker = ("--url", client.url, "--queue", client.queue)
    for command in (
        ("send", *broker),
        ("peek", *broker, "--contains"),
        ("folder", "verify"),
        ("folder", "export"),
        ("serve", "--config"),
    ):
        done = run_process(*command, UTF8, environment=locale)
        assert done.code in (0, 1, 2)
        assert "Traceback" not in done.error


def refused(done: Outcome) -> str:
    assert done.code in (1, 2)
    assert done.out == b""
    assert "Traceback" not in done.error
    return done.error


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", b"--group", NO_TEXT, "x"),
        ("send", b"--attribute", b"a=" + NO_TEXT, "x"),
        ("send", "--idempotency-key", NO_TEXT, "x"),
        ("send", NO_TEXT),
        ("peek", "--contains", NO_TEXT),
        ("peek", "--attribute", NO_TEXT),
    ],
)
def test_an_argument_that_is_not_text(wonderq: Wonderq, client: QueueClient, arguments: Sequence[str | bytes]) -> None:
    command, *rest = arguments
    assert "not UTF-8" in refused(wonderq(str(command), *rest))
    assert list(client.messages()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("key", "create", NO_TEXT, "--role", "admin"),
        ("key", "revoke", NO_TEXT),
        ("queue", "set", "q", b'tags={"a":"' + NO_TEXT + b'"}'),
        ("redrive", "start", NO_TEXT),
        ("schedule", "set", NO_TEXT, "cron=* * * * *"),
        ("folder", "inspect", "--message", NO_TEXT, "d"),
        ("receive", "--queue", NO_TEXT),
        ("receive", "--url", NO_TEXT),
        ("serve", "--listen", NO_TEXT),
        ("serve", "--config", NO_TEXT),
        ("folder", "verify", NO_TEXT),
        (NO_TEXT,),
    ],
)
def test_an_argument_that_is_not_text_without_a_broker(arguments: Sequence[str | bytes]) -> None:
    assert refused(run(*arguments))


@pytest.mark.parametrize(("argument", "code"), [("\udcff", USAGE), ("d", None), ("é", None)])
def test_only_an_argument_that_is_not_text_is_blamed(argument: str, code: int | None, capsys: Any) -> None:
    """Other text that cannot be encoded is a bug, whose traceback has to be seen."""
    error = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    assert failures.report(error, ["folder", "export", argument]) == code
    assert ("an argument is not text" in capsys.readouterr().err) == (code is not None)


def test_text_in_utf8_is_taken_where_the_locale_has_none(client: QueueClient, tmp_path: Path) -> None:
    ascii_only = {**NO_UTF8_MODE, "LC_ALL": "C"}
    broker = ("--url", client.url, "--queue", client.queue)
    assert run_process("send", *broker, "--group", UTF8, UTF8, environment=ascii_only).code == 0
    [message] = client.messages()
    assert (message["message"], message["group"]) == (UTF8.decode(), UTF8.decode())


def test_lines_for_people_are_utf_8_where_the_output_has_another_encoding(tmp_path: Path) -> None:
    folder = str(tmp_path / UTF8.decode())
    assert run("folder", "import", folder, stdin=b'{"type":"queue","queue":"q"}\n').code == 0
    shown = run_process("folder", "verify", folder, environment={"PYTHONIOENCODING": "ascii"})
    assert (shown.code, shown.lines[0].split()) == (0, ["folder", folder])


def test_a_folder_whose_name_is_not_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/" + NO_TEXT
    assert run("folder", "import", folder, stdin=b'{"type":"queue","queue":"q"}\n').code == 0
    for command in ("verify", "verify --json", "inspect", "inspect --json", "compact", "compact --json", "export"):
        done = run("folder", *command.split(), folder)
        assert (done.code, done.error) == (0, "")
    done = run("folder", "repair", folder, folder + b"2")
    assert done.code == 0
    assert b"\\udcff\\udcfe" in done.out
    assert run("folder", "repair", folder, folder + b"3", "--json").code == 0
    assert run("folder", "restore", folder, folder + b"4", "--json").code == 0


def test_files_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "wonderq.toml").write_bytes(b'fsync = "\xff"')
    (tmp_path / "keys.json").write_bytes(NO_TEXT)
    assert "cannot be read" in refused(run("serve", "--config", str(tmp_path / "wonderq.toml")))
    assert "cannot be read" in refused(run("key", "list", "--data", str(tmp_path)))
    assert "line 1 cannot be imported" in refused(run("folder", "import", str(tmp_path / "new"), stdin=NO_TEXT))


def opens_text(call: ast.Call) -> bool:
    """Whether a call opens a text file."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name in ("read_text", "write_text", "TextIOWrapper"):
        return True
    modes = [
        each.value for each in (*call.args, *(more.value for more in call.keywords)) if isinstance(each, ast.Constant)
    ]
    if name == "open" and isinstance(call.func, ast.Name):
        return not any(isinstance(mode, str) and "b" in mode for mode in modes[-1:])
    return name in ("open", "fdopen") and any(mode in ("r", "w", "a", "r+", "w+", "x") for mode in modes)


@pytest.mark.parametrize("folder", ["wonderq", "storage", "tools", "benchmarks"])
def test_every_text_file_names_its_encoding(folder: str) -> None:
    root = Path(__file__).parents[2]
    missing = [
        f"{path.relative_to(root)}:{each.lineno}"
        for path in sorted((root / folder).rglob("*.py"))
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(each, ast.Call) and opens_text(each) and "encoding" not in {more.arg for more in each.keywords}
    ]
    assert missing == []


@needs_path("/proc/self")
def test_no_module_depends_on_the_locale() -> None:
    """Python warns of each text file that is opened without an encoding; a start imports all modules."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::EncodingWarning",
            "-m",
            "wonderq",
            "serve",
            "--data",
            "/proc/x",
            "--listen",
            "127.0.0.1:0",
        ],
        env=clean_environment({"PYTHONWARNDEFAULTENCODING": "1"}),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stderr.startswith(b"wonderq: cannot use /proc/x")


# Terminals

CONTROLS = [*map(chr, range(9)), *map(chr, range(10, 32)), *map(chr, range(127, 160)), *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]  # fmt: skip


def on_terminal(*arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Run a command whose standard output is a terminal; return what the terminal gets."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, env=clean_environment(environment)
    ) as process:
        os.close(theirs)
        data = b""
        try:
            while piece := os.read(ours, 1 << 16):
                data += piece
        except OSError:  # the end of a terminal
            pass
        os.close(ours)
        assert process.wait(PATIENCE_S) == 0
    return data.replace(b"\r\n", b"\n")


def test_each_control_character_is_escaped() -> None:
    for each in CONTROLS:
        assert printable(f"a{each}b") == f"a\\u{ord(each):04x}b"
    text = 'tab\t é日本 👩\u200d🚀 \\ "'
    assert printable(text) == text


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", ["peek", "receive", "receive --delete", "send"])
def test_a_message_cannot_control_a_terminal(client: QueueClient, command: str, as_json: bool) -> None:
    body = "".join(CONTROLS) + "é"
    if command == "send":
        body = "\x1b[2J\x9b\u202e"
    else:
        client.produce(body)
    arguments = [*command.split(), "--url", client.url, "--queue", client.queue, *(["--json"] if as_json else [])]
    data = on_terminal(*arguments, *([body] if command == "send" else [])).decode()
    assert data.endswith("\n")
    assert not set(data[:-1]) & set(CONTROLS)
    if command != "send" or as_json:
        assert "\\u202e" in data


@pytest.mark.parametrize("command", ["folder export", "folder inspect --records --bodies", "queue show"])
def test_other_commands_that_print_what_clients_chose(client: QueueClient, tmp_path: Path, command: str) -> None:
    body = b'"\\u001b[2J \\u009b \\u202e"'
    if command == "queue show":
        client.put_queue(tags={"a": "\x9b \u202e"})
        arguments = ["queue", "show", client.queue, "--url", client.url]
    else:
        run("folder", "import", str(tmp_path / "d"), stdin=b'{"type":"message","queue":"q","message":%s}' % body)
        arguments = [*command.split(), str(tmp_path / "d")]
    data = on_terminal(*arguments).decode()
    assert not set(data) & set(CONTROLS) - {"\n"}
    assert "\\u009b \\u202e" in data


def test_what_a_terminal_cannot_show_is_escaped(client: QueueClient) -> None:
    client.produce("é")
    shown = on_terminal(
        "peek", "--url", client.url, "--queue", client.queue, environment={**NO_UTF8_MODE, "LC_ALL": "C"}
    )
    assert shown.endswith(b"\t\\xe9\n")


def test_piped_output_is_as_it_was_sent(wonderq: Wonderq, client: QueueClient) -> None:
    body = "".join(CONTROLS)
    client.produce(body)
    assert wonderq("receive", "--delete").out == body.encode() + b"\n"


def test_an_error_cannot_control_a_terminal(tmp_path: Path) -> None:
    done = run("folder", "verify", str(tmp_path / "a\x1b[2J\nwonderq: ok"))
    assert done.code == 1
    assert "\x1b" not in done.error
    assert done.error.count("\n") == 1
