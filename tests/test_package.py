"""What is packaged: whole in source, and a page that stands alone."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\((?!https?://)([^)]+)\)")


def test_the_package_page_links_to_nothing_beside_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / project["readme"]).read_text(encoding="utf-8")
    assert LINK.findall(page) == []
    assert LINK.findall("see [there](docs/x.md)") == ["docs/x.md"]
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) <= set(
        project["optional-dependencies"]
    )


def test_the_source_distribution_has_every_folder():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    tops = {Path(name).parts[0] for name in listed if "/" in name}
    grafted = set(re.findall(r"^graft (\S+)", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE))
    assert tops - grafted == {"src"}, "a folder that MANIFEST.in does not name"
