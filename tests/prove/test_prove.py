"""The plan of all proofs names programs that exist, and the report adds up what they say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.prove import __main__ as command
from tests.prove.plan import PROOFS, Proof, parts_of
from tests.prove.report import BEGIN, END, Outcome, Report, idle_mechanisms, put_table, table, verdict

#: A program of a part: ends with its amount as its exit code.
SCRIPT = Proof("example", "Kills under load", ("example", "{amount}", "{seed}"), "cycles", 10, parts=4)


def outcome(part: str = "kills-1", *, exit_code: int = 0, amount: int = 5, lines: Sequence[str] = ()) -> Outcome:
    name, _, number = part.rpartition("-")
    return Outcome(
        part, name, "Kills", "cycles", amount, int(number), "python -m x", exit_code, 1.5, "2026-01-01T00:00:00+00:00",
        list(lines),
    )  # fmt: skip


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_each_program_exists_and_takes_these_options(proof: Proof) -> None:
    part = next(parts_of(proof, 7, 0.001))
    module, *arguments = part.arguments
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin)
    source = (path.with_name("__main__.py") if path.name == "__init__.py" else path).read_text()
    if module == "tests.crash":
        source += (command.ROOT / "tests" / "support" / "kill_cycles.py").read_text()
    for option in arguments[::2]:
        assert f'"{option}"' in source, f"{module} has no option {option}"


def test_each_method_is_a_heading_of_the_page() -> None:
    page = (command.ROOT / "docs" / "RELIABILITY.md").read_text()
    assert [proof.name for proof in PROOFS if f"\n### {proof.method}\n" not in page] == []


def test_names_are_unique() -> None:
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


@pytest.mark.parametrize(
    ("scale", "amounts"), [(1, [3, 3, 2, 2]), (0.5, [3, 2]), (0.1, [1]), (0.001, [1]), (1.5, [3, 3, 3, 2, 2, 2])]
)
def test_a_scale_changes_the_number_of_parts_and_not_their_size(scale: float, amounts: list[int]) -> None:
    parts = list(parts_of(SCRIPT, 100, scale))
    assert [part.amount for part in parts] == amounts
    assert [part.seed for part in parts] == list(range(100, 100 + len(amounts)))
    assert parts[0].arguments == ["example", str(parts[0].amount), "100"]


def test_parts_that_divide_one_work_have_its_seed() -> None:
    whole = Proof("example", "Every bit", ("example", "{seed}", "{number}/{parts}"), "parts", 3, 3, is_scalable=False)
    arguments = [part.arguments for part in parts_of(whole, 100, 0.1)]
    assert arguments == [["example", "100", f"{number}/3"] for number in (1, 2, 3)]


def test_mechanisms_are_added_up_over_the_parts() -> None:
    first = outcome(exit_code=3, lines=["mechanisms: torn tails cut 0, kills 1,234", "NEVER RAN: torn tails cut"])
    second = outcome("kills-2", lines=["mechanisms: torn tails cut 2, kills 1"])
    assert first.mechanisms == {"torn tails cut": 0, "kills": 1234}
    assert idle_mechanisms([first]) == ["torn tails cut"]
    assert verdict([first]) == "no violation; never ran: torn tails cut"
    assert verdict([first, second]) == "no violation"


def test_a_part_that_ended_otherwise_is_a_failure() -> None:
    assert verdict([outcome(), outcome("kills-2", exit_code=1)]) == "**failed: kills-2**"
    assert verdict([outcome(exit_code=3)]) == "no violation; not every mechanism ran"


def test_the_table_stands_between_its_marks(tmp_path: Path) -> None:
    report = Report("abc", "Linux", 1.0, 5, [outcome(), outcome("kills-2", amount=6), outcome("soak-1", amount=60)])
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_table(page, table(report))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nVersion abc, on Linux.\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "| Kills | 11 cycles, seeds 1 to 2: `python -m x` and 1 more | 3 s | no violation |" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the line"):
        put_table(page, "text")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for reports of a plan whose parts write a line into a file, and fail while a file `fail` is there."""
    (tmp_path / "example.py").write_text(
        "import pathlib, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "with (here / 'runs').open('a') as runs: print(*sys.argv[1:], file=runs)\n"
        "print('mechanisms: runs 1')\n"
        "sys.exit((here / 'fail').exists())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command, "PROOFS", (SCRIPT,))
    monkeypatch.setattr(command, "version", lambda: "0123456789abcdef")
    return tmp_path


def test_a_run_goes_on_with_what_is_missing(run: Path) -> None:
    options = ["--reports", str(run / "reports"), "--seed", "1"]
    (run / "fail").touch()
    assert command.main([*options, "--scale", "1"]) == 1
    assert command.main([*options, "--minutes", "0"]) == command.UNFINISHED
    (run / "fail").unlink()
    assert command.main(options) == 0
    assert (run / "runs").read_text().split("\n")[:-1] == ["3 1", "3 2", "2 3", "2 4"] * 2
    assert command.main(options) == 0, "all are done"
    assert len((run / "runs").read_text().splitlines()) == 8
    report = Report.read(run / "reports" / "0123456789abcdef.json")
    assert [each.exit_code for each in report.outcomes] == [0] * 4
    assert [each.amount for each in report.outcomes] == [3, 3, 2, 2]
    assert len(list((run / "reports").glob("*.log"))) == 4


@pytest.mark.parametrize("at_once", [2, 3, 9])
def test_parts_run_side_by_side(run: Path, at_once: int) -> None:
    """Each waits until as many have begun as run at once."""
    (run / "example.py").write_text(
        "import pathlib, sys, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "(here / f'begun-{sys.argv[2]}').touch()\n"
        f"while len(list(here.glob('begun-*'))) < min({at_once}, 4): time.sleep(0.01)\n"
        "sys.exit(sys.argv[2] == '2')\n"
    )
    options = ["--reports", str(run / "reports"), "--seed", "1", "--at-once", str(at_once)]
    assert command.main(options) == 1
    report = Report.read(run / "reports" / "0123456789abcdef.json")
    assert [(each.seed, each.exit_code) for each in report.outcomes] == [(1, 0), (2, 1), (3, 0), (4, 0)]


def test_an_interrupted_run_ends_what_it_has_begun(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "example.py").write_text(
        "import pathlib, signal, sys, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "if sys.argv[2] == '1':\n"
        "    while not (here / 'begun').exists(): time.sleep(0.01)\n"
        "    sys.exit()\n"
        "try: (here / 'begun').touch(), time.sleep(1000)\n"
        "finally: (here / 'ended').touch()\n"
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_put", interrupt)
    with pytest.raises(KeyboardInterrupt):
        command.main(["--reports", str(run / "reports"), "--seed", "1", "--at-once", "2"])
    assert (run / "ended").exists()


def test_a_report_of_another_scale_is_not_continued(run: Path) -> None:
    options = ["--reports", str(run / "reports"), "--seed", "1"]
    assert command.main([*options, "--scale", "0.1"]) == 0
    with pytest.raises(SystemExit):
        command.main(options)


def test_a_report_goes_on_with_its_seed_on_another_day(run: Path) -> None:
    options = ["--reports", str(run / "reports")]
    assert command.main([*options, "--seed", "41", "--minutes", "0"]) == command.UNFINISHED
    with pytest.raises(SystemExit):
        command.main([*options, "--seed", "42"])
    assert not (run / "runs").exists()
    report = Report.read(run / "reports" / "0123456789abcdef.json")
    assert (report.seed, command.main(options)) == (41, 0)
    assert [line.split()[1] for line in (run / "runs").read_text().splitlines()] == ["41", "42", "43", "44"]


def test_a_tree_with_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(command, "ROOT", tmp_path)
    git("init")
    (tmp_path / "docs").mkdir()
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "code")
    first = command.version()
    (tmp_path / "docs" / "PAGE.md").write_text("text")
    assert command.version() == first, "documentation may change"
    git("add", ".")
    git("commit", "-m", "page")
    assert command.version() == first
    (tmp_path / "code.py").write_text("2")
    with pytest.raises(SystemExit, match="Commit your changes"):
        command.version()


def test_help_says_how_to_go_on() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.prove", "--help"], capture_output=True, text=True, check=True)
    assert "--minutes" in done.stdout
