"""The `wonderq` command: parse arguments, run a command, turn its outcome into an exit code."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

from wonderq import __version__
from wonderq.cli.arguments import Parser, did_you_mean, fail
from wonderq.cli.commands import GROUPS, WORDS
from wonderq.cli.exit_codes import EXIT_CODES, OK, REFUSED
from wonderq.cli.output import print_lines, set_up_output, write_json

#: Limits on open files to try where the system refuses to lift its own. macOS accepts the last one (OPEN_MAX).
_FILE_LIMITS = (1 << 20, 1 << 16, 10240)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    set_up_output()
    given = sys.argv[1:] if arguments is None else arguments
    if "--version" in given and {"--version", "--json"}.issuperset(given):
        return _print_version(as_json="--json" in given)
    options = build_parser(next((each for each in given if not each.startswith("-")), "")).parse(given)
    if options.parser.prog not in ("wonderq serve", "wonderq cluster start"):
        if sys.stdout is None:
            advice = "To discard the output, redirect it to /dev/null"
            return fail(f"standard output is closed, so nothing was done. {advice}", REFUSED)
        if not getattr(options, "is_client", False):  # a client logs nothing
            _silence_log()
    raise_file_limit()
    try:
        code: int = options.run(options)
    except BaseException as error:
        from wonderq.cli import failures  # noqa: PLC0415 - see its docstring

        failed = failures.report(error, given)
        if failed is None:
            raise
        return failed
    return code


def build_parser(word: str | None = None) -> Parser:
    """Return the parser of the command line: of all commands, or of one word and the names of the others."""
    root = _Root(prog="wonderq", description="A durable message broker.")
    root.add_argument("--version", action="store_true", help="print the version and end; with --json more versions")
    words = root.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    for name, each in WORDS.items():
        parser = words.add_parser(name, help=each.summary)
        if word in (None, name):
            each.add_to(parser)
    root.verbs = words.choices
    return root


def raise_file_limit() -> None:
    """Raise the limit on open files: each segment and each connection needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (hard, resource.RLIM_INFINITY):
        return
    lower = (each for each in _FILE_LIMITS if each > soft and (hard == resource.RLIM_INFINITY or each < hard))
    for limit in (hard, *lower):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def _silence_log() -> None:
    """Discard log lines: only a broker logs. A command reports what it finds in a log through its own output."""
    import logging  # noqa: PLC0415 - its import takes longer than a request

    logging.getLogger("wonderq").addHandler(logging.NullHandler())


class _Root(Parser):
    """The parser of the first word: its help has groups, and it knows the verbs of all nouns."""

    def format_help(self) -> str:
        lines = ["usage: wonderq COMMAND [options]", "       wonderq NOUN VERB [NAME] [options]", "", self.description]
        for title, words in GROUPS.items():
            lines += ["", f"{title}:", *(f"  {name:<12}{word.summary}" for name, word in words.items())]
        see = "'wonderq COMMAND --help' explains a command. 'wonderq --version [--json]' prints the version."
        return "\n".join(map(str, [*lines, "", see, "", EXIT_CODES]))

    def hint(self, word: str) -> str:
        if f"--{word}" in self._option_string_actions:
            return f". Did you mean --{word}?"
        nouns = [name for name, parser in build_parser().verbs.items() if word in getattr(parser, "verbs", ())]
        if nouns:
            return f". Did you mean {' or '.join(f'{noun} {word}' for noun in nouns)}?"
        return did_you_mean(word, self.verbs)


def _print_version(*, as_json: bool) -> int:
    if not as_json:
        print_lines([f"wonderq {__version__}"])
        return OK
    import platform  # noqa: PLC0415 - not for the version alone

    names = ("python_version", "python_implementation", "system", "machine")
    write_json([{"version": __version__, **{name: getattr(platform, name)() for name in names}}])
    return OK
