"""Exit codes of all commands, and their meanings."""

from __future__ import annotations

OK = 0
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
NOTHING = 4
INTERRUPTED = 130
PIPE_CLOSED = 141

MEANINGS = {
    OK: "done",
    REFUSED: "refused, or not all of it was done",
    USAGE: "wrong usage, an invalid setting, or --yes is missing",
    UNREACHABLE: "the broker cannot be reached",
    NOTHING: "there was nothing to receive",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PIPE_CLOSED: "the reader of the output closed the pipe",
}

#: The table at the end of each help text.
EXIT_CODES = "exit codes:\n" + "".join(f"  {code:<4} {meaning}\n" for code, meaning in MEANINGS.items())
