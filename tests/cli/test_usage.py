from __future__ import annotations

import re
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import wonderq
from tests.support.commands import clean_environment, run
from tests.support.waiting import PATIENCE_S
from wonderq.cli.main import build_parser, main
from wonderq.model import errors

COMMANDS = (
    "serve",
    "send",
    "receive",
    "delete",
    "peek",
    "tail",
    "worker",
    "top",
    "demo",
    "queue",
    "topic",
    "redrive",
    "schedule",
    "key",
    "folder",
    "nats",
    "completion",
)


def test_python_m_wonderq_is_wonderq() -> None:
    script = Path(sysconfig.get_path("scripts")) / "wonderq"
    done = subprocess.run(
        [script, "--version"], capture_output=True, text=True, env=clean_environment(), timeout=PATIENCE_S, check=False
    )
    version = run("--version")
    assert (done.returncode, done.stdout) == (0, f"wonderq {wonderq.__version__}\n")
    assert (version.code, version.out.decode()) == (0, done.stdout)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_explains_and_lists_the_exit_codes(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"] if command is None else [command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: wonderq {command or 'COMMAND'}")
    assert "  3    the broker cannot be reached\n" in text
    if command is None:
        for each in COMMANDS:
            assert f"\n  {each} " in text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "wonderq: a command is missing. 'wonderq --help' explains it."),
        (["sned"], "wonderq: there is no command 'sned'. Did you mean send? 'wonderq --help' explains it."),
        (["keys", "list"], "Did you mean key?"),
        (["purge"], "Did you mean queue purge?"),
        (["verify", "x"], "Did you mean folder verify?"),
        (["dlete", "x"], "Did you mean delete?"),
        (["queue"], "wonderq queue: a verb is missing: list, show, set, pause, "),
        (["queue", "prge", "x"], "there is no verb 'prge'. Did you mean purge?"),
        (["queue", "receive"], "Did you mean 'wonderq receive'?"),
        (["schedule", "lst"], "Did you mean list?"),
        (["peek", "mail"], "unrecognized arguments: mail. Did you mean --queue mail?"),
        (["queue", "delete", "x", "--yess"], "Did you mean --yes?"),
        (["queue", "--json", "list"], "unrecognized arguments: --json. Put options behind 'wonderq queue list'."),
        (["--json", "queue", "list"], "unrecognized arguments: --json. Put options behind 'wonderq queue list'."),
        (["queue", "info", "x"], "there is no verb 'info'. Its verbs: list, show, set, "),
        (["schedule", "set", "x", "--cron", "5"], "unrecognized arguments: --cron 5. Did you mean cron=VALUE?"),
        (["version"], "Did you mean --version?"),
        (["help"], "Did you mean --help?"),
        (["serve", "--fsnyc", "os"], "unrecognized arguments: --fsnyc os. Did you mean --fsync?"),
        (["serve", "--messages-bytes=5"], "Did you mean --message-bytes?"),
        (["send", "--prioriti", "3", "x"], "Did you mean --priority?"),
        (["peek", "--status", "procesing"], "Did you mean processing?"),
        (["key", "create", "x", "--role", "produces"], "Did you mean produce?"),
        (["send", "--delay", "soon", "x"], "--delay: 'soon' is not a number of seconds from 0"),
        (["send", "--delay", "nan", "x"], "--delay: 'nan' is not a number of seconds from 0"),
        (["send", "--json", "--quiet", "x"], "not allowed with"),
        (["send", "--queue", "a/b", "x"], "--queue: a queue's name is"),
        (["receive", "--max", "0"], "--max: '0' is not a whole number of at least 1"),
        (["receive", "--wait", "-1"], "--wait: '-1' is not a number of seconds from 0"),
        (["receive", "--wait", "inf"], "--wait: 'inf' is not a number of seconds from 0"),
        (["receive", "--visibility-timeout", "0"], "'0' is not a number of seconds from 0.001 to 43200"),
        (["demo", "--files", "5"], "--files: '5' is not a whole number of at least 100"),
        (["demo", "--consumers", "1"], "--consumers: '1' is not a whole number of at least 2"),
        (["serve", "--data"], "--data: expected one argument"),
        (["folder", "verify"], "DIR"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert what in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["queue", "set", "mail", "delay=1", "paused=true", "--json", "--url", "u"],
        ["queue", "set", "--json", "mail", "delay=1", "--url", "u", "paused=true"],
        ["queue", "set", "mail", "--url", "u", "--json", "delay=1", "paused=true"],
    ],
)
def test_options_stand_anywhere_among_the_arguments(arguments: list[str]) -> None:
    options = build_parser().parse(arguments)
    assert (options.queue, options.json, options.url) == ("mail", True, "u")
    assert options.fields == [("delay", "1"), ("paused", "true")]


def test_options_cannot_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """`serve --key KEY` would use the key as the file of `--keys`, and log it."""
    for arguments in (["serve", "--key", "KEY"], ["queue", "purge", "mail", "--ye"], ["--versio"]):
        with pytest.raises(SystemExit):
            build_parser().parse(arguments)
        assert "unrecognized arguments: --" in capsys.readouterr().err


def test_an_argument_behind_an_option_is_checked_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["queue", "set", "mail", "--json", "delay"])
    assert "'delay' is not NAME=VALUE" in capsys.readouterr().err


def test_a_word_that_resembles_nothing_gets_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["xyzzy"], ["queue", "xyzzy"], ["queue", "list", "--xyzzy"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "Did you mean" not in capsys.readouterr().err


def test_errors_of_the_broker_suit_users_of_every_client() -> None:
    """A user of the command line, or of SQS, cannot "PUT" something."""
    source = Path(errors.__file__).read_text(encoding="utf-8")
    for package in ("broker", "model", "rest"):
        for file in (Path(wonderq.__file__).parent / package).glob("*.py"):
            for text in re.findall(r"f?\"[^\"\n]*\"", file.read_text(encoding="utf-8")):
                assert not re.search(r"\b(GET|PUT|POST|DELETE|UPDATE) /", text), f"{file}: {text}"
    assert "class QueueNotFoundError" in source


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "127.0.0.1:7979", "http://", "http://h:99999", "http://h/path"])
def test_a_wrong_address_names_its_source(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["send", "--url", url, "x"]) == 2
    assert capsys.readouterr().err.startswith(f"wonderq: --url: {url!r} is not a broker's address: ")
    monkeypatch.setenv("WONDERQ_URL", url)
    assert main(["send", "x"]) == 2
    assert capsys.readouterr().err.startswith(f"wonderq: WONDERQ_URL: {url!r} is not a broker's address: ")


@pytest.mark.parametrize("command", ["send", "receive", "delete", "queue list", "tail"])
def test_a_broker_that_is_not_there_is_exit_code_3(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main([*command.split(), "--url", url, *(["x"] if command in ("send", "delete") else [])]) == 3
    assert capsys.readouterr().err == (
        f"wonderq: {url} cannot be reached: Connection refused. "
        "Is a broker running there? Start one with 'wonderq serve'.\n"
    )


def test_help_does_not_load_the_client() -> None:
    code = "import sys; from wonderq.cli.main import build_parser; build_parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"ssl", "wonderq.client.requests", "wonderq.client.messages"} & set(loaded)
