"""Blocks of the documentation are read as intended, and those that do not run agree with the program in other ways."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.documents.output import Names
from tests.documents.pages import installs_of
from tests.support.document_blocks import ROOT, Block, DocumentError, Kind, blocks_of, pages, read
from tools.reference.command_line import commands
from wonderq.cli.main import build_parser
from wonderq.config import Settings
from wonderq.openapi.operations import OPERATIONS

PAGES = pages()
BLOCKS = [(page, block) for page in PAGES for block in blocks_of(page)]

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def of_kind(kind: Kind) -> list[tuple[Path, Block]]:
    return [(page, block) for page, block in BLOCKS if block.kind is kind]


def test_the_documentation_has_blocks_of_each_kind() -> None:
    assert {block.kind for _, block in BLOCKS} == set(Kind)
    assert len(of_kind(Kind.RUN)) > 50


def test_few_blocks_do_not_run_and_each_says_why() -> None:
    skipped = of_kind(Kind.SKIP)
    assert all(len(block.reason.split()) > 3 for _, block in skipped)
    # Four of them need Docker or Kubernetes, and seven a cluster on ports or machines of its own.
    assert len(skipped) <= 18, "run them, or raise this number with a reason"


def options_of(words: list[str]) -> set[str]:
    """Return the options of a command of WonderQ. The words begin with its name, and may have arguments after it."""
    parsers = {name: parser for name, _, parser in commands(build_parser())}
    name = next((name for count in (1, 2) if (name := f"wonderq {' '.join(words[:count])}") in parsers), None)
    assert name is not None, f"there is no command {words[0]!r}"
    return {option for action in parsers[name]._actions for option in action.option_strings}


def synopses() -> list[tuple[str, str]]:
    return [
        (f"{page.name}:{block.line}", line.removeprefix("$ ").partition("  #")[0])
        for page, block in of_kind(Kind.SYNOPSIS)
        for line in block.text.splitlines()
    ]


@pytest.mark.parametrize(("place", "line"), synopses())
def test_a_synopsis_names_commands_and_options_that_exist(place: str, line: str) -> None:
    name, *words = re.sub(r"[\[\]()|]", " ", line).split()
    assert name == "wonderq", place
    assert {word for word in words if word.startswith("--")} <= options_of(words), place


def test_a_synopsis_with_an_unknown_option_or_command_is_noticed() -> None:
    assert "--jason" not in options_of(["folder", "verify", "DIR"])
    with pytest.raises(AssertionError, match="there is no command 'inspct'"):
        options_of(["inspct", "DIR"])


def test_commands_of_the_repository_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page, block in of_kind(Kind.REPOSITORY):
        for line in block.text.splitlines():
            for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", line):
                assert target in targets, f"{page.name}:{block.line}"
            for module in re.findall(r"^(?:\$ )?python -m ([\w.]+)", line):
                path = ROOT / module.replace(".", "/")
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page.name}:{block.line}"


def test_what_the_pages_install_is_declared() -> None:
    extras = set(PYPROJECT["project"]["optional-dependencies"])
    declared = {
        re.split(r"[^\w-]", each)[0]
        for group in PYPROJECT["dependency-groups"].values()
        for each in group
        if isinstance(each, str)
    }
    commands = [(page, command) for page, block in of_kind(Kind.RUN) for command in installs_of(block)]
    assert commands
    for page, command in commands:
        _, _, *requirements = shlex.split(command)
        for each in requirements:
            name, _, options = each.partition("[")
            if name == "wonderq":
                assert {*filter(None, options.rstrip("]").split(","))} <= extras, f"{page.name}: {command}"
            else:
                assert re.split(r"[^\w-]", name)[0] in declared, f"{page.name}: {command}"


SAMPLE = """# Title

    $ wonderq send one
    00000000-0000-8000-8000-000000000001
    $ wonderq send \\
        two
    ...

<!-- test: figures vary -->
<!-- test: exit code 4 -->

```console
$ wonderq receive
> --max 1
12 messages
```

<!-- test: write tasks.py -->

```python
print(1)
```

<!-- a comment for editors -->

- a list

    curl of a list item is no block

<!-- test: run
kill broker
-->

    {"json": "is not for a terminal"}

text

    pip install wonderq
    wonderq serve
"""


def test_blocks_are_read() -> None:
    first, second, file, hidden, last = read(SAMPLE, "sample")
    assert [(each.text, each.output) for each in first.commands] == [
        ("wonderq send one", ["00000000-0000-8000-8000-000000000001"]),
        ("wonderq send \\\n    two", ["..."]),
    ]
    assert (second.figures_vary, second.exit_code) == (True, 4)
    assert [(each.text, each.line, each.output) for each in second.commands] == [
        ("wonderq receive\n--max 1", 13, ["12 messages"])
    ]
    assert (file.kind, file.file, file.text) == (Kind.FILE, "tasks.py", "print(1)")
    assert (hidden.kind, hidden.commands[0].text) == (Kind.HIDDEN, "kill broker")
    assert [each.text for each in last.commands] == ["pip install wonderq", "wonderq serve"]
    assert len(installs_of(last)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- test: skip: no -->\n\ntext\n", "sample:1: no block follows"),
        ("<!-- test: skip: no -->\n", "sample:1: no block follows"),
        ("<!-- test: skipped -->\n\n    wonderq queue list\n", "there is no comment `test: skipped`"),
        ("<!-- test: skip: no -->\n\n    {}\n", "not for a terminal"),
        ("```console\noutput\n$ wonderq queue list\n```\n", "output before the first command"),
    ],
)
def test_a_comment_without_effect_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        list(read(text, "sample"))


ID, OTHER, THIRD = (f"{digit * 8}-1111-8111-8111-111111111111" for digit in "abc")


def test_names_of_the_page_stand_for_names_of_the_run() -> None:
    names = Names()
    assert (
        names.difference(
            [f'{{"id": "{ID}", "at": "2026-01-01T00:00:00.000Z"}}'],
            [f'{{"id": "{OTHER}", "at": "2027-02-02T10:20:30.5Z"}}'],
        )
        == ""
    )
    assert names.in_command(f"curl /messages/{ID}") == f"curl /messages/{OTHER}"
    assert names.difference([ID, ID], [OTHER, OTHER]) == ""
    assert names.difference([ID], [THIRD]) != ""


def test_one_name_of_the_page_is_one_name_of_the_run() -> None:
    assert Names().difference([ID, ID], [OTHER, THIRD]) != ""


@pytest.mark.parametrize(
    ("shown", "printed", "figures_vary", "agrees"),
    [
        ("a", "a", False, True),
        ("a", "b", False, False),
        ("a\nb", "a", False, False),
        ("12 messages", "13 messages", False, False),
        ("12 messages", "1,300 messages", True, True),
        ("12 messages", "12 queues", True, False),
        ("  9 MiB", "10 MiB", True, True),
        ('[{...,"n":1}]', '[{"id":"x","n":1}]', False, True),
        ('[{...,"n":1}]', '[{"id":"x","n":2}]', False, False),
        ("a.c", "abc", False, False),
    ],
)
def test_output_is_compared(shown: str, printed: str, figures_vary: bool, agrees: bool) -> None:
    difference = Names().difference(shown.splitlines(), printed.splitlines(), figures_vary=figures_vary)
    assert (difference == "") is agrees


def test_the_files_for_container_platforms_agree_with_the_program() -> None:
    text = (ROOT / "docs/how-to/deploy.md").read_text()
    [block] = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    compose = yaml.safe_load((ROOT / "tools/deploy/compose.yaml").read_text())
    dockerfile = (ROOT / "tools/deploy/Dockerfile").read_text()
    settings = {f"WONDERQ_{each.name.upper()}" for each in fields(Settings)}

    [service] = compose["services"].values()
    assert service["environment"].keys() <= settings
    assert service["volumes"] == ["wonderq:/data"]
    assert "VOLUME /data\n" in dockerfile
    assert service["ports"][0].endswith(":7979")

    front, stateful_set = yaml.safe_load_all(block)
    assert front["spec"]["ports"][0]["port"] == 7979
    pod = stateful_set["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {each["name"] for each in container["env"]} <= settings
    assert f"USER {pod['securityContext']['runAsUser']}\n" in dockerfile
    paths = {operation.path for operation in OPERATIONS if operation.method == "GET"}
    assert {
        container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    } <= paths
    mounts = {each["name"] for each in container["volumeMounts"]}
    claims = {each["metadata"]["name"] for each in stateful_set["spec"]["volumeClaimTemplates"]}
    assert mounts == claims | {each["name"] for each in pod["volumes"]}
    assert stateful_set["spec"]["replicas"] == 1
