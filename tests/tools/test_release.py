"""The checklist of a release refuses what is not ready. `make dist` and tests/packaging build the release itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.release import __main__ as checklist
from tools.release import bill
from tools.release.commands import ROOT, CommandError, run, version
from tools.release.names import PACKAGE, PAGES, names
from wonderq import __version__


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and a golden folder in it."""
    golden = tmp_path / "tests" / "golden" / "format-1"
    golden.mkdir(parents=True)
    (golden / "0000000001.wal").write_bytes(b"as it was written")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


def test_the_version_is_read_without_an_import() -> None:
    assert version() == __version__


def test_a_command_that_fails_shows_its_last_lines() -> None:
    with pytest.raises(CommandError, match=r"exit code 3:\nthe reason"):
        run("sh", "-c", "echo the reason >&2; exit 3")


READY = "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2027-01-31\n\n- A change.\n"


def test_a_change_log_with_the_version_is_ready() -> None:
    checklist.check_changelog(READY, "1.2.0")
    checklist.check_changelog(READY.replace("## Unreleased\n\n", ""), "1.2.0")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (READY.replace(" - 2027-01-31", ""), "no line"),
        (READY.replace("1.2.0", "1.2.01"), "no line"),
        (READY.replace("1.2.0", "1x2.0"), "no line"),
        (READY.replace("## Unreleased\n", "## Unreleased\n\n- Another.\n"), "under Unreleased"),
        (READY + "\n## Unreleased\n\n- Another.\n", "under Unreleased"),
    ],
)
def test_a_change_log_without_the_version_or_with_more_than_it_is_not(text: str, reason: str) -> None:
    with pytest.raises(checklist.NotReadyError, match=reason):
        checklist.check_changelog(text, "1.2.0")


def test_a_tree_is_ready_when_everything_is_committed_and_the_tag_is_new(repository: Path) -> None:
    checklist.check_tree(repository, "1.2.0")
    git(repository, "tag", "v1.2.0")
    checklist.check_tree(repository, "1.2.1")
    with pytest.raises(checklist.NotReadyError, match=r"v1\.2\.0 exists"):
        checklist.check_tree(repository, "1.2.0")
    (repository / "new").touch()
    with pytest.raises(checklist.NotReadyError, match="such as new"):
        checklist.check_tree(repository, "1.2.1")


def test_a_golden_folder_of_a_release_may_get_neighbours_and_no_change(repository: Path) -> None:
    golden = repository / "tests" / "golden"
    (golden / "format-1" / "0000000001.wal").write_bytes(b"changed before the first release")
    commit(repository)
    checklist.check_golden(repository)
    git(repository, "tag", "v1.0.0")
    (golden / "format-2").mkdir()
    (golden / "format-2" / "0000000001.wal").write_bytes(b"of a later format")
    commit(repository)
    checklist.check_golden(repository)
    (golden / "format-1" / "0000000001.wal").write_bytes(b"changed after it")
    commit(repository)
    with pytest.raises(checklist.NotReadyError, match=r"format-1/0000000001\.wal is not as v1\.0\.0 released it"):
        checklist.check_golden(repository)


PACKAGE_TEXT = '__all__ = ["Client", "Queue"]\n'
CALLS = "# HTTP calls\n\n### GET /queues\n\n| field | meaning |\n|---|---|\n| `prefix` | Begin of names. |\n"
COMMANDS = (
    "## wonderq send\n\n| argument | meaning |\n|---|---|\n| `--queue NAME` | Queue. |\n| `[MESSAGE ...]` | Text. |\n"
)


def write_names(folder: Path, *, package: str = PACKAGE_TEXT, calls: str = CALLS, commands: str = COMMANDS) -> None:
    texts = dict.fromkeys(PAGES, "# Page\n") | {PACKAGE: package}
    texts |= {"docs/reference/http-calls.md": calls, "docs/reference/command-line.md": commands}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_names_may_be_added(repository: Path) -> None:
    write_names(repository)
    commit(repository)
    git(repository, "tag", "v1.0.0")
    checklist.check_names(repository, "1.1.0")
    write_names(
        repository,
        package='__all__ = ["Client", "Queue", "Topic"]\n',
        calls=CALLS + "| `after` | Name. |\n\n### GET /topics\n",
        commands=COMMANDS + "| `--json` | Print JSON. |\n",
    )
    checklist.check_names(repository, "1.1.0")


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"package": '__all__ = ["Client"]\n'}, r"wonderq\.Queue"),
        ({"calls": CALLS.replace("prefix", "begin")}, "GET /queues, prefix"),
        ({"calls": CALLS.replace("GET", "POST")}, "GET /queues"),
        ({"commands": COMMANDS.replace("--queue", "--to")}, "wonderq send, --queue"),
        ({"commands": COMMANDS.replace("[MESSAGE ...]", "TEXT")}, "wonderq send, MESSAGE"),
    ],
)
def test_a_name_that_is_missing_is_refused_until_the_next_major_version(
    changed: dict[str, str], missing: str, repository: Path
) -> None:
    write_names(repository)
    commit(repository)
    git(repository, "tag", "v0.9.0")
    git(repository, "tag", "v1.0.0")
    write_names(repository, **changed)
    with pytest.raises(checklist.NotReadyError, match=missing):
        checklist.check_names(repository, "1.1.0")
    checklist.check_names(repository, "2.0.0")
    checklist.check_names(repository, "0.10.0")


def test_the_names_of_this_version_are_found() -> None:
    found = names(lambda path: (ROOT / path).read_text(encoding="utf-8"))
    assert {
        "wonderq.Client",
        "docs/reference/errors.md, stale_receipt",
        "docs/reference/http-calls.md, POST /messages/produce, delay",
        "docs/reference/command-line.md, wonderq send, --queue",
        "docs/reference/settings.md, Settings of a broker, --listen",
    } <= found
    assert any(name.endswith(", wonderq_queue_bytes") for name in found)


def test_a_failed_check_is_named_and_hides_the_steps_that_follow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise checklist.NotReadyError("not yet")

    monkeypatch.setattr(checklist, "CHECKS", {"the first": lambda: None, "the second": fail})
    monkeypatch.setattr(checklist, "SLOW_CHECKS", {"the slow one": fail})
    assert checklist.main(["--quick"]) == 1
    out = capsys.readouterr().out
    assert "ok      the first" in out
    assert "FAILED  the second: not yet" in out
    assert "slow" not in out
    assert "Left to you" not in out
    monkeypatch.setattr(checklist, "CHECKS", {"the first": lambda: None})
    assert checklist.main(["--quick"]) == 0
    assert f"git tag --sign v{__version__}" in capsys.readouterr().out


def test_the_bill_has_each_file_of_others_in_the_wheel_with_its_licence() -> None:
    inside = bill.vendored()
    names = {path.name for path in bill.VENDORED.parent.glob("*.[jc]s*") if path.suffix in (".js", ".css")}
    assert {each["bom-ref"].removeprefix("vendored:") for each in inside} == names
    table = bill.licence_list({"components": inside})
    assert table.count("| MIT |") >= 2


def test_a_part_without_a_licence_is_refused() -> None:
    unknown = {"name": "something", "version": "1", "licenses": [{"license": {"name": ""}}]}
    with pytest.raises(CommandError, match="no licence is named for something"):
        bill.licence_list({"components": [*bill.vendored(), unknown]})


def test_licences_may_be_ids_names_or_an_expression() -> None:
    given = [{"license": {"id": "MIT"}}, {"license": {"name": "BSD"}}, {"expression": "Apache-2.0 OR MIT"}]
    assert bill.licences_of({"licenses": given}) == "Apache-2.0 OR MIT, BSD, MIT"
