"""Schedules of an app: the broker's schedules are made, kept and removed as the code has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wonderq.client.errors import Invalid
from wonderq.client.sync import Client

Missed: TypeAlias = Literal["skip", "once", "all"]

#: Attribute of a schedule, and of its messages, that names the app which keeps it.
APP = "app"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule in the code of an app."""

    task: str
    queue: str
    text: str
    cron: str
    timezone: str
    missed: Missed


def schedule_name(app: str, task: str) -> str:
    """Return the name of a task's schedule or subscription in the broker.

    Raises:
        ValueError: it is no name of one.
    """
    name = f"{app}-{task}".replace(".", "-")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a schedule or a subscription: it has 1 to 80 characters of A-Z a-z 0-9 _ "
            "and -"
        )
    return name


def keep_schedules(client: Client, app: str, schedules: Sequence[Schedule]) -> None:
    """Create or change the schedules of an app, and remove those that its code no longer has.

    A schedule belongs to the app that its attribute ``app`` names. Others are not touched, whatever their names. A
    pause by ``wonderq schedule pause`` stays.

    Raises:
        WonderQError: the broker refuses a schedule, for example for its cron expression, or gives no answer.
    """
    wanted = {schedule_name(app, each.task): each for each in schedules}
    found = client.schedules()
    for name, each in wanted.items():
        try:
            client.put_schedule(
                name,
                cron=each.cron,
                timezone=each.timezone,
                missed=each.missed,
                queue=each.queue,
                body=each.text,
                attributes={"content_type": "application/json", APP: app},
            )
        except Invalid as error:
            error.add_note(f"This is the schedule of task {each.task!r}")
            raise
    for old in found:
        if old.name not in wanted and old.attributes.get(APP) == app:
            client.delete_schedule(old.name)
