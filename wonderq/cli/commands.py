"""The words after `wonderq`, each with the function that describes it.

A word's module is imported only if the word is used, so a command does not load the modules of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wonderq.cli.arguments import Parser


class Word(NamedTuple):
    """A command, or a noun with verbs."""

    summary: str
    describe: str
    """``MODULE:FUNCTION`` below `wonderq.cli`: a function that adds description, arguments and verbs to a parser."""

    def add_to(self, parser: Parser) -> None:
        """Complete the parser of this word."""
        from importlib import import_module  # noqa: PLC0415

        module, _, function = self.describe.partition(":")
        getattr(import_module(f"wonderq.cli.{module}"), function)(parser)


#: Each group of words, in the order of the help.
GROUPS = {
    "messages of a queue": {
        "send": Word("produce messages", "messages:send"),
        "receive": Word("claim messages and print them", "messages:receive"),
        "delete": Word("delete messages", "messages:delete"),
        "peek": Word("print messages without claiming them", "messages:peek"),
        "tail": Word("print messages as they are produced", "messages:tail"),
    },
    "programs": {
        "serve": Word("run a broker", "serve:serve"),
        "worker": Word("run the tasks of an app", "worker:worker"),
        "top": Word("watch the queues and the problems of a broker", "top:top"),
        "demo": Word("watch a broker work, be killed, and lose nothing", "demo:demo"),
    },
    "nouns, each with verbs": {
        "queue": Word("list, set up, pause, purge and delete queues", "queues:queue"),
        "topic": Word("set up topics, subscribe queues, publish", "topics:topic"),
        "redrive": Word("move dead letters back, or messages to another queue", "redrives:redrive"),
        "schedule": Word("produce messages at recurring times", "schedules:schedule"),
        "key": Word("create, list and revoke API keys", "keys:key"),
        "folder": Word("check, repair, copy and shrink the folder of a log", "folders:folder"),
        "cluster": Word("run brokers on several machines as one", "cluster:cluster"),
        "nats": Word("run NATS servers for development", "nats:nats"),
    },
    "others": {
        "completion": Word("print the completion script of a shell", "completion:completion"),
    },
}

#: All words.
WORDS = {name: word for group in GROUPS.values() for name, word in group.items()}
