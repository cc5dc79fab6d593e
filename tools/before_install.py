"""Check the Python that `make` uses, and tell what it is about to install. Any Python 3 can run this."""

import re
import sys
from pathlib import Path


def main():
    """Print what is installed, or exit with a sentence if this Python is too old."""
    if sys.version_info < (3, 11):  # noqa: UP036 - `make` runs this with any Python
        found = sys.version.split()[0]
        sys.exit(
            f"WonderQ needs Python 3.11 or newer, and {sys.executable} is {found}. Name another: make PYTHON=python3.13"
        )
    import tomllib  # noqa: PLC0415 - earlier Pythons do not have it

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", each).group() for each in project["dependencies"]]
    print("Installing into the folder .venv, and nowhere else, from the package index:")
    print(f"WonderQ, from this folder, and {', '.join(names)}.")


if __name__ == "__main__":
    main()
