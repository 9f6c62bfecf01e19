"""Write docs/contribute/licences.md, which lists the licence of each locked run-time dependency.

The metadata of a dependency names its licence.

    python packaging/licences.py [--check]

`--check` writes nothing, and fails if the file differs from the text that would be written.
"""

import re
import sys
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/contribute/licences.md"
HEAD = """# Licences

The exporter is under Apache-2.0 (`LICENSE`). These are its run-time dependencies, as locked in `locks/runtime.txt`:

<!-- made by packaging/licences.py: make generate -->

| package | licence |
|---|---|
"""


def licence(package: str) -> str:
    """Return the SPDX expression of an installed package, or the licence in older fields of its metadata."""
    about = metadata(package)
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in about.get_all("Classifier") or [] if text.startswith("License :: OSI Approved :: ")]
    if classifiers:
        return ", ".join(text.removeprefix("License :: OSI Approved :: ") for text in classifiers)
    return (about.get("License") or "not stated").splitlines()[0]


def page() -> str:
    """Return the text of the page."""
    lock = (ROOT / "locks/runtime.txt").read_text(encoding="utf-8")
    packages = re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE)
    return HEAD + "".join(f"| {package} | {licence(package)} |\n" for package in sorted(packages))


def main() -> int:
    """Run the command; return its exit code."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print("docs/contribute/licences.md is out of date; run: make generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
