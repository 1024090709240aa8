# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of docs/ is built without a warning, so no link leads nowhere; each block has a page."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("material") is None,
    reason="mkdocs is not installed: pip install -r requirements-docs.txt",
)


def build(root: Path, to: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(to)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=quiet, capture_output=True, text=True)


def test_site_is_built_without_a_warning(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (ROOT / "grc").glob("*.block.yml"):
        block = yaml.safe_load(path.read_text())
        page = (tmp_path / "blocks" / block["id"] / "index.html").read_text()
        assert f"<title>{block['label']}</title>" in page and "<strong>Output:</strong>" in page
        for port in [*block.get("inputs", []), *block.get("outputs", [])]:
            assert f">{port.get('id') or port.get('label') or port['dtype']}</text>" in page


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    for part in ("docs", "grc", "tools", "examples", "python/largesc/models/embedded"):
        ignore = shutil.ignore_patterns("results", "*.safetensors")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignore)
    for part in ("mkdocs.yml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / part, tmp_path / part)
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0 and "results/demo.png" in done.stderr
