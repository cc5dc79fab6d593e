"""`make release-check`: the checklist of a release. It checks what a program can check, and lists what is left to you.

It changes dist/ alone, and publishes nothing. If a check fails, it ends with exit code 1.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.release import bill, build
from tools.release.commands import ROOT, CommandError, run, version
from tools.release.names import names
from tools.release.requirements import DEPLOY, pin

#: The environment of the tests.
_PYTHON = ROOT / ".venv" / "bin" / "python"

REMAINING = """
Left to you, in this order:

  1. Let .ci/run pass on a bare machine, from a fresh clone of this commit.
  2. Read the section of this version in CHANGELOG.md as a user. Does it say what they must change? Before the
     first release, set [project.urls] in pyproject.toml: links of README are relative, and the index has no docs/.
  3. Tag and push:            git tag --sign v{version} && git push origin v{version}
  4. Publish the packages:    .venv-release/bin/twine upload dist/wonderq-{version}*.whl dist/wonderq-{version}.tar.gz
  5. Publish the image:       docker buildx build --platform linux/amd64,linux/arm64 \\
                                -f tools/deploy/Dockerfile -t NAME:{version} --push .
  6. Attach to the release:   dist/wonderq-{version}.cdx.json and dist/wonderq-{version}-licences.md
  7. Publish the site:        mike deploy --push --update-aliases {version} latest
  8. Try it as a stranger:    uvx wonderq@{version} demo
  9. Begin the next version:  raise __version__ in wonderq/__init__.py, and add "## Unreleased" to CHANGELOG.md
"""


class NotReadyError(Exception):
    """A check failed. The message states what to do."""


def check_changelog(text: str, number: str) -> None:
    """Check that the change log has a section of this version, with its date, and nothing under Unreleased.

    Raises:
        NotReadyError: it does not.
    """
    if not re.search(rf"^## {re.escape(number)} - \d{{4}}-\d{{2}}-\d{{2}}$", text, re.MULTILINE):
        raise NotReadyError(f'CHANGELOG.md has no line "## {number} - YYYY-MM-DD". Give Unreleased that name')
    if any(map(str.strip, re.findall(r"^## Unreleased$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))):
        raise NotReadyError("CHANGELOG.md has changes under Unreleased. Move them to the section of this version")


def check_tree(folder: Path, number: str) -> None:
    """Check that the repository has no uncommitted change and no tag of this version.

    Raises:
        NotReadyError: it has one.
    """
    if changed := run("git", "status", "--porcelain", cwd=folder).splitlines():
        raise NotReadyError(f"{len(changed)} files are not committed, such as {changed[0][3:]}. Commit or remove them")
    if run("git", "tag", "--list", f"v{number}", cwd=folder).strip():
        raise NotReadyError(f"the tag v{number} exists. Raise __version__ in wonderq/__init__.py")


def check_golden(folder: Path) -> None:
    """Check that no golden folder of a released version has changed since the last tag.

    Raises:
        NotReadyError: one has.
    """
    tags = run("git", "tag", "--list", "v*", "--sort=-version:refname", cwd=folder).split()
    if not tags:
        return
    changed = run("git", "diff", "--name-only", "--diff-filter=a", tags[0], "--", "tests/golden/format-*", cwd=folder)
    if files := changed.split():
        raise NotReadyError(f"{files[0]} is not as {tags[0]} released it. Restore it: later versions must read it")


def check_names(folder: Path, number: str) -> None:
    """Check that each public name of the last release with the same MAJOR is still there. Before 1.0 none is kept.

    Raises:
        NotReadyError: one is not.
    """
    major = number.partition(".")[0]
    tags = run("git", "tag", "--list", f"v{major}.*", "--sort=-version:refname", cwd=folder).split()
    if major == "0" or not tags:
        return
    kept = names(lambda path: run("git", "show", f"{tags[0]}:{path}", cwd=folder))
    if missing := sorted(kept - names(lambda path: (folder / path).read_text(encoding="utf-8"))):
        raise NotReadyError(
            f"{len(missing)} names of {tags[0]} are missing, such as {missing[0]}. Keep them, and deprecate them as "
            "docs/STABILITY.md describes"
        )


def check_reference() -> None:
    """Check that the pages that are made from the program are up to date.

    Raises:
        NotReadyError: one is not.
    """
    try:
        run(_PYTHON, "-m", "pytest", "-n", "0", "tests/documents/test_reference.py")
    except CommandError as error:
        raise NotReadyError(f"a page of docs/reference is out of date. Run make reference\n{error}") from error


def check_requirements() -> None:
    """Check that the pins of the image satisfy pyproject.toml.

    Raises:
        NotReadyError: they do not.
    """
    names = ("requirements.txt", "build-requirements.txt")
    with tempfile.TemporaryDirectory(prefix="wonderq-pins-") as folder:
        for name in names:
            shutil.copy(DEPLOY / name, folder)
        pin(Path(folder), upgrade=False)
        for name in names:
            if (Path(folder) / name).read_bytes() != (DEPLOY / name).read_bytes():
                raise NotReadyError(f"tools/deploy/{name} does not satisfy pyproject.toml. Run make requirements")


def check_wheel() -> None:
    """Install the wheel into empty environments and use it there.

    Raises:
        CommandError: that fails.
    """
    run(_PYTHON, "-m", "pytest", "-n", "0", "-m", "slow", "tests/packaging", "tests/upgrade")


CHECKS: dict[str, Callable[[], object]] = {
    "everything is committed, and the version is new": lambda: check_tree(ROOT, version()),
    "the change log has this version": lambda: check_changelog(
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version()
    ),
    "the golden folders of earlier versions are unchanged": lambda: check_golden(ROOT),
    "the pages made from the program are up to date": check_reference,
    "each name that 1.0 keeps is still there": lambda: check_names(ROOT, version()),
    "the pins of the image satisfy pyproject.toml": check_requirements,
    "wheel and source distribution are built, and twine accepts them": build.build,
    "the bill of materials names a licence for each part": bill.write,
}
SLOW_CHECKS: dict[str, Callable[[], object]] = {
    "the wheel works in empty environments, and upgrades earlier versions": check_wheel,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the slow checks")
    options = parser.parse_args(arguments)
    failed = 0
    for title, check in (CHECKS if options.quick else CHECKS | SLOW_CHECKS).items():
        try:
            check()
            print(f"  ok      {title}", flush=True)
        except (NotReadyError, CommandError) as error:
            failed += 1
            print(f"  FAILED  {title}: {error}", flush=True)
    print(REMAINING.format(version=version()) if not failed else f"\n{failed} checks failed.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
