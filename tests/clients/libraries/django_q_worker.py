"""Django-Q2 with its broker for SQS: a cluster, and tasks queued by `async_task`. A failed task is not acknowledged."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

from tests.clients.libraries.task import QUEUE

settings.configure(
    INSTALLED_APPS=["django_q"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(os.environ["WORKER_NOTES"]).with_name("results.sqlite3"),
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="any",
    USE_TZ=True,
    Q_CLUSTER={
        "name": QUEUE,
        "workers": 1,
        "retry": 2,  # visibility timeout
        "timeout": None,
        "ack_failures": False,
        "scheduler": False,
        "sqs": {"aws_region": "us-east-1", "receive_message_wait_time_seconds": 1},
    },
)
django.setup()

if sys.argv[1] == "work":
    call_command("migrate", verbosity=0)
    call_command("qcluster")
else:
    from django_q.tasks import async_task

    async_task("tests.clients.libraries.task.do", sys.argv[2])
