"""Draw the diagrams in Mermaid of docs/ as SVG files in docs/diagrams: `make diagrams`.

A page has a diagram as a block of Mermaid, which code hosts draw. The site shows the file, because a page must load
nothing from elsewhere and the renderer of Mermaid has some megabytes. The name of a file is the hash of its source.

Needs npm, Chromium and Playwright (`make browser`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile

from playwright.sync_api import sync_playwright

from tools.site.hooks import MERMAID, ROOT, diagram_name

_PACKAGE = "mermaid@11"
_DRAW = """async (source) => {
  mermaid.initialize({startOnLoad: false, htmlLabels: false, theme: "neutral", fontFamily: "sans-serif",
                      flowchart: {htmlLabels: false}, state: {htmlLabels: false}, deterministicIds: true});
  return (await mermaid.render("diagram", source)).svg;
}"""


def main() -> None:
    """Draw the diagrams that have no file, and remove files without a diagram."""
    folder = ROOT / "docs" / "diagrams"
    folder.mkdir(exist_ok=True)
    sources = {
        diagram_name(source): source
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for source in MERMAID.findall(page.read_text(encoding="utf-8"))
    }
    for old in folder.iterdir():
        if old.name not in sources:
            old.unlink()
    missing = {name: source for name, source in sources.items() if not (folder / name).exists()}
    if not missing:
        return
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", temporary, _PACKAGE], check=True
        )
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=f"{temporary}/node_modules/mermaid/dist/mermaid.min.js")
        for name, source in missing.items():
            drawing = page.evaluate(_DRAW, source).replace('style="max-width', 'style="background: white; max-width', 1)
            (folder / name).write_text(drawing + "\n", encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main()
