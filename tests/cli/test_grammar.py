"""All commands follow one grammar, and their options mean the same everywhere."""

from __future__ import annotations

import argparse
import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

import wonderq
from tests.support.commands import run
from tests.support.document_blocks import ROOT, pages
from tools.reference.command_line import arguments_of, commands
from wonderq.cli import failures
from wonderq.cli.arguments import Parser
from wonderq.cli.commands import GROUPS, WORDS
from wonderq.cli.exit_codes import MEANINGS
from wonderq.cli.main import build_parser

CLI = Path(wonderq.__file__).parent / "cli"

COMMANDS: dict[str, Parser] = {name.removeprefix("wonderq "): parser for name, _, parser in commands(build_parser())}

#: Commands without results: programs that run until they are stopped, and text that is for a shell or JSON already.
WITHOUT_JSON = {"serve", "worker", "demo", "nats serve", "cluster start", "completion", "folder export"}

DESTROYING = {
    *("queue purge", "queue delete", "topic delete", "topic unsubscribe", "schedule delete", "key revoke"),
    "cluster replace",
}

#: Verbs whose argument is text of its own kind instead of a name.
OF_A_FOLDER = {name for name in COMMANDS if name.startswith("folder ")}


def options_of(command: str) -> dict[str, argparse.Action]:
    return {option: action for action in arguments_of(COMMANDS[command]) for option in action.option_strings}


def positionals_of(command: str) -> list[argparse.Action]:
    return [action for action in arguments_of(COMMANDS[command]) if not action.option_strings]


def test_each_command_that_prints_results_has_json() -> None:
    assert {name for name in COMMANDS if "--json" not in options_of(name)} == WITHOUT_JSON


def test_exactly_what_destroys_has_yes() -> None:
    assert {name for name in COMMANDS if "--yes" in options_of(name)} == DESTROYING


@pytest.mark.parametrize("option", ["--url", "--key", "--queue", "--yes"])
def test_an_option_means_the_same_everywhere(option: str) -> None:
    others = {"worker", "key create", "folder import"}  # which filter, or choose another target
    helps = {options_of(name)[option].help for name in COMMANDS if name not in others and option in options_of(name)}
    assert len(helps) == 1


def test_url_and_key_come_together() -> None:
    for name in COMMANDS:
        assert ("--url" in options_of(name)) == ("--key" in options_of(name)), name


def test_most_of_many_is_called_max() -> None:
    assert {name for name in COMMANDS if "--limit" in options_of(name)} == set()
    assert {"receive", "peek", "queue kick", "redrive start"} == {n for n in COMMANDS if "--max" in options_of(n)}


def test_what_a_verb_acts_on_is_its_first_argument() -> None:
    """Lists, and programs that run servers, act on no single thing. Some verbs are about the whole cluster."""
    of_the_cluster = {f"cluster {verb}" for verb in ("start", "status", "balance", "check")}
    for name in COMMANDS.keys() - OF_A_FOLDER - of_the_cluster:
        noun, _, verb = name.partition(" ")
        if verb and noun != "nats" and not (verb == "list" and noun != "redrive"):
            wanted = ("NAME", "TOPIC", "ID", "SHARD", "NODE", "OLD", "DIR", "BACKUP", "FOLDER")
            assert positionals_of(name)[0].metavar in wanted, name


def test_set_takes_fields() -> None:
    for name in COMMANDS:
        if name.endswith((" set", " subscribe")):
            assert (positionals_of(name)[-1].metavar, positionals_of(name)[-1].nargs) == ("FIELD=VALUE", "*"), name


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_argument_is_explained(command: str) -> None:
    assert (COMMANDS[command].description or "").endswith(".")
    for action in arguments_of(COMMANDS[command]):
        assert action.help, action.dest
        assert action.metavar or action.nargs == 0 or action.choices, action.dest


def test_a_noun_is_no_plural_and_has_a_summary() -> None:
    assert all(not word.endswith("s") for word in GROUPS["nouns, each with verbs"] if word != "nats")
    assert all(each.summary for each in WORDS.values())


def test_each_failure_with_an_exit_code_is_an_exception_that_exists() -> None:
    for name, code in failures.CODES.items():
        module, _, error = name.rpartition(".")
        assert issubclass(getattr(import_module(module), error), Exception)
        assert code in MEANINGS


def test_only_two_modules_print() -> None:
    """They escape the characters that control a terminal; prompts are constant or escaped."""
    printing = {
        path.name
        for path in CLI.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"output.py", "arguments.py", "confirmation.py", "streams.py"}
    assert (CLI / "streams.py").read_text(encoding="utf-8").count("print(hint, file=sys.stderr)") == 1


# Spellings

#: A command in backticks, quotes, HTML, or at a prompt. What follows a command in capitals is a placeholder.
_SPELLED = re.compile(r"(?:[`'\">(]|\$ |; do |^ {4,})wonderq ([a-z][a-z-]*)(?: ([a-z][a-z-]*)\b)?", re.MULTILINE)

SOURCES = [
    *pages(),
    *(ROOT / name for name in ("CONTRIBUTING.md", "ROADMAP.md", "SECURITY.md", "Makefile")),
    *sorted((ROOT / "tools").rglob("*.py")),
    *sorted((ROOT / "docs").glob("*.yml")),
    *(path for kind in ("py", "js", "html") for path in sorted((ROOT / "wonderq").rglob(f"*.{kind}"))),
]


#: An example of a mistake, and a line of the log.
NO_COMMANDS = {"wonderq purge mail", "wonderq listening on", "wonderq node"}


def misspelt(text: str) -> list[str]:
    found = []
    for word, verb in _SPELLED.findall(text):
        verbs = {name.partition(" ")[2] for name in COMMANDS if name.partition(" ")[0] == word} - {""}
        if word not in WORDS or (verb and verbs and verb not in verbs):
            found.append(f"wonderq {word} {verb}".strip())
    return [each for each in found if each not in NO_COMMANDS]


def test_commands_in_documents_and_messages_exist() -> None:
    wrong = {str(path.relative_to(ROOT)): misspelt(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: found for path, found in wrong.items() if found} == {}
    assert sum(len(_SPELLED.findall(path.read_text(encoding="utf-8"))) for path in SOURCES) > 150


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert misspelt("run `wonderq stats`, or 'wonderq queue show'") == ["wonderq stats"]
    assert misspelt("    wonderq queue purgee x\n$ wonderq send x") == ["wonderq queue purgee"]


def test_the_page_of_the_grammar_has_each_noun_with_its_verbs() -> None:
    text = (ROOT / "docs" / "CLI.md").read_text(encoding="utf-8")
    for word, parser in build_parser().verbs.items():
        if parser.verbs:
            assert f"| `{word}` | {', '.join(f'`{verb}`' for verb in parser.verbs)} |" in text, word
        else:
            assert f"`{word}`" in text or word == "completion"


def test_the_version_has_a_form_for_programs() -> None:
    found = json.loads(run("--version", "--json").out)
    assert found["version"] == wonderq.__version__
    assert found.keys() == {"version", "python_version", "python_implementation", "system", "machine"}
    assert run("--json", "--version").out == run("--version", "--json").out
