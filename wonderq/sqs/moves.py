"""The actions that bring dead letters back."""

from __future__ import annotations

from typing import Any

from wonderq.sqs.actions import Context
from wonderq.sqs.errors import SqsError


def start_message_move_task(context: Context) -> dict[str, Any]:
    raise SqsError("UnsupportedOperation", "Not yet.")


def cancel_message_move_task(context: Context) -> dict[str, Any]:
    raise SqsError("UnsupportedOperation", "Not yet.")


def list_message_move_tasks(context: Context) -> dict[str, Any]:
    raise SqsError("UnsupportedOperation", "Not yet.")
