"""The command `wonderq completion`: the completion script of a shell."""

from __future__ import annotations

import argparse

from wonderq.cli.arguments import Parser
from wonderq.cli.exit_codes import OK
from wonderq.cli.output import print_lines

#: File of each shell's script in `wonderq/share`, which `make reference` writes.
SCRIPTS = {"bash": "wonderq.bash", "zsh": "_wonderq"}


def completion(command: Parser) -> None:
    """Describe `wonderq completion`."""
    command.describe(
        "Print the script that lets a shell complete commands and options. For bash, put this line into ~/.bashrc: "
        'eval "$(wonderq completion bash)". For zsh, put this line into ~/.zshrc, below compinit: '
        'eval "$(wonderq completion zsh)".',
        _completion,
    )
    command.add_argument("shell", metavar="SHELL", choices=list(SCRIPTS), help="bash or zsh")


def _completion(options: argparse.Namespace) -> int:
    from importlib.resources import files  # noqa: PLC0415 - this command only

    script = files("wonderq").joinpath("share", "completion", SCRIPTS[options.shell])
    print_lines(script.read_text(encoding="utf-8").splitlines())
    return OK
