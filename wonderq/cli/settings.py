"""Options for the settings of a broker."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import Any

from wonderq.config import ClusterSettings, Settings, as_text


def add_settings(
    command: argparse.ArgumentParser, kind: type[Settings | ClusterSettings], without: Collection[str] = ()
) -> None:
    """Add an option for each setting, except those ``without``."""
    for each in fields(kind):
        if each.name in without:
            continue
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(each.default, bool) else {}
        if each.metadata["separator"] == "\n":
            switch["action"] = "append"
        command.add_argument(
            "--" + each.name.replace("_", "-"),
            metavar=each.metadata["metavar"],
            default=argparse.SUPPRESS,
            help=f"{each.metadata['help']} (default {as_text(each.default)})",
            **switch,
        )


def flags_of(options: argparse.Namespace, names: Collection[str]) -> dict[str, str]:
    """Return the values of the options for settings, as `wonderq.config` reads them."""
    return {
        name: "\n".join(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in names
    }
