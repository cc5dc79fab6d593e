"""The man pages, from the parsers of the command line: `wonderq(1)`, and one for each word: `wonderq-queue(1)`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from tools.reference.command_line import argument_name, arguments_of, meaning_of
from tools.reference.markdown import sentence
from wonderq.cli.arguments import Parser
from wonderq.cli.commands import GROUPS, WORDS
from wonderq.cli.exit_codes import MEANINGS
from wonderq.cli.main import build_parser

_ENVIRONMENT = (
    ("WONDERQ_URL", "address of the broker, for the commands that have --url"),
    ("WONDERQ_KEY", "API key, for the commands that have --key"),
    ("WONDERQ_DATA, WONDERQ_LISTEN, ...", "settings of wonderq serve: each option is also a variable"),
)


def man_pages() -> dict[str, str]:
    """Return each page by the name of its file."""
    root = build_parser()
    pages = {"wonderq.1": _page("wonderq", "a durable message broker", _overview())}
    for word, parser in root.verbs.items():
        pages[f"wonderq-{word}.1"] = _page(f"wonderq-{word}", WORDS[word].summary, _command(parser))
    return pages


def _page(name: str, summary: str, body: Iterator[str]) -> str:
    head = [
        '.\\" `make reference` writes this page from the program.',
        f'.TH "{name.upper()}" 1 "" "WonderQ" "User Commands"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(summary)}",
    ]
    return "\n".join(chain(head, body, _exit_codes(), _see_also(name))) + "\n"


def _overview() -> Iterator[str]:
    yield from (".SH SYNOPSIS", ".B wonderq", "COMMAND [options]", ".br", ".B wonderq", "NOUN VERB [NAME] [options]")
    yield from (".SH DESCRIPTION", "WonderQ is a durable message broker in one process and one folder.")
    for title, words in GROUPS.items():
        yield f'.SH "{title.upper()}"'
        for word, about in words.items():
            yield from (".TP", f"\\fBwonderq\\-{_text(word)}\\fR(1)", _text(sentence(about.summary)))
    yield ".SH OPTIONS"
    yield from (".TP", "\\fB\\-\\-version\\fR [\\fB\\-\\-json\\fR]", "Print the version, and end.")
    yield from (".TP", "\\fB\\-\\-help\\fR", "Print help. Each command has it.")
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from (".TP", f"\\fB{_text(name)}\\fR", _text(sentence(meaning)))


def _command(parser: Parser) -> Iterator[str]:
    leaves = list(parser.verbs.values()) or [parser]
    yield ".SH SYNOPSIS"
    for index, leaf in enumerate(leaves):
        if index:
            yield ".br"
        yield from (f"\\fB{_text(leaf.prog)}\\fR {_text(_synopsis(leaf))}".rstrip(),)
    yield from (".SH DESCRIPTION", _text(parser.description or ""))
    if not parser.verbs:
        yield ".SH ARGUMENTS AND OPTIONS"
        yield from _arguments(parser)
        return
    yield ".SH VERBS"
    for name, verb in parser.verbs.items():
        yield from (f".SS {_text(name)} {_text(_synopsis(verb))}", _text(verb.description or ""))
        yield from _arguments(verb)


def _synopsis(parser: Parser) -> str:
    positionals = [argument_name(each) for each in arguments_of(parser) if not each.option_strings]
    return " ".join([*positionals, "[options]"])


def _arguments(parser: Parser) -> Iterator[str]:
    for each in arguments_of(parser):
        yield from (".TP", f"\\fB{_text(argument_name(each))}\\fR", _text(meaning_of(each)))


def _exit_codes() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in MEANINGS.items():
        yield from (".TP", f"\\fB{code}\\fR", _text(sentence(meaning)))


def _see_also(name: str) -> Iterator[str]:
    others = [each for each in ("wonderq", *(f"wonderq-{word}" for word in WORDS)) if each != name]
    shown = others if name == "wonderq" else others[:1]
    yield from (".SH SEE ALSO", ", ".join(f"\\fB{_text(each)}\\fR(1)" for each in shown))


def _text(text: str) -> str:
    """Escape what roff would take for a request or for typography."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^\.", r"\\&.", " ".join(text.split()))
