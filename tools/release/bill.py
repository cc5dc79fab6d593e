"""`make sbom`: the bill of materials of a release, and the licences of everything that its image installs.

Both come from an environment with the pinned libraries and this version. The parts of the wheel that others wrote come
from `wonderq/ui/vendor/vendored.toml`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools.release.commands import BIN, DIST, ROOT, CommandError, run, version

VENDORED = ROOT / "wonderq" / "ui" / "vendor" / "vendored.toml"


def bill() -> dict[str, Any]:
    """Return the bill of materials as CycloneDX 1.6.

    Raises:
        CommandError: the environment cannot be made, or the bill does not follow the schema.
    """
    # The environment of the tests, which import this module, does not have them.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="wonderq-bill-") as folder:
        python = Path(folder) / "bin" / "python"
        run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder)
        install = (BIN / "uv", "pip", "install", "--quiet", "--python", python)
        run(*install, "--require-hashes", "-r", ROOT / "tools" / "deploy" / "requirements.txt")
        run(*install, "--no-deps", ROOT)
        made = run(
            *(BIN / "cyclonedx-py", "environment", "--spec-version", "1.6", "--output-format", "JSON"),
            *("--output-reproducible", "--pyproject", ROOT / "pyproject.toml", python),
        )
    found: dict[str, Any] = json.loads(made)
    found["metadata"]["component"]["version"] = version()
    # This version is what the bill is about, and not one of its parts.
    inside = vendored()
    found["components"] = [each for each in found["components"] if each["name"] != "wonderq"] + inside
    [root] = [each for each in found["dependencies"] if each["ref"] == found["metadata"]["component"]["bom-ref"]]
    root["dependsOn"] = [each for each in root["dependsOn"] if not each.startswith("wonderq")]
    root["dependsOn"] += [each["bom-ref"] for each in inside]
    found["dependencies"] += [{"ref": each["bom-ref"]} for each in inside]
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)):
        raise CommandError(f"the bill of materials does not follow the schema: {error}")
    return found


def vendored() -> list[dict[str, Any]]:
    """Return the components of others inside the wheel: one for each file."""
    return [
        {
            "type": "library",
            "bom-ref": f"vendored:{name}",
            "name": f"{each['title']} ({name})",
            "version": each["version"],
            "hashes": [{"alg": "SHA-256", "content": each["sha256"]}],
            "licenses": [{"license": {"id": licence}} for licence in each["licence"].split(" and ")],
        }
        for name, each in tomllib.loads(VENDORED.read_text(encoding="utf-8")).items()
    ]


def licences_of(component: dict[str, Any]) -> str:
    """Return the licences of a component as text, or nothing if it names none."""
    names: set[str] = set()
    for each in component.get("licenses", []):
        licence = each.get("license", {})
        names.add(each.get("expression") or licence.get("id") or licence.get("name", ""))
    return ", ".join(sorted(names - {""}))


def licence_list(found: dict[str, Any]) -> str:
    """Return a table of the components with their licences.

    Raises:
        CommandError: a component names no licence.
    """
    rows = sorted((each["name"], each["version"], licences_of(each)) for each in found["components"])
    if unnamed := [name for name, _, licences in rows if not licences]:
        raise CommandError(f"no licence is named for {', '.join(unnamed)}. Find it, or do without the library.")
    head = f"# Licences in WonderQ {version()}\n\n| library | version | licence |\n|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write() -> list[Path]:
    """Write both files into dist/ and return their paths.

    Raises:
        CommandError: the bill cannot be made, or a component names no licence.
    """
    found = bill()
    texts = {
        DIST / f"wonderq-{version()}.cdx.json": json.dumps(found, indent=1) + "\n",
        DIST / f"wonderq-{version()}-licences.md": licence_list(found),
    }
    DIST.mkdir(exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


if __name__ == "__main__":
    for each in write():
        print(each.relative_to(ROOT))
