# SPDX-License-Identifier: GPL-3.0-or-later
"""Hook of MkDocs: pages of the site that lie elsewhere, or are made from the blocks' yml.

What is not a page, such as a source file, is named without a link.
"""

import posixpath
import re
from html import escape
from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Page by the file that it is made of.
ELSEWHERE = {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
    "CHANGELOG.md": "changes.md",
    "docs/blocks.md": "blocks/index.md",
    "python/largesc/models/embedded/README.md": "models.md",
}
LINK = re.compile(r"\[([^\[\]]*)\]\((?!\w+:|#)([^)#\s]*)(#[^)\s]*)?\)")
DTYPES = {"raw": "any", "real": "float", "enum": "choice", "bool": "yes or no"}
# Of the picture of a block, in pixels.
LINE, MARGIN, WIDTH, CHARACTER = 18, 12, 200, 7.0


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that do not lie in ``docs``."""
    blocks = [yaml.safe_load(p.read_text()) for p in sorted((ROOT / "grc").glob("*.block.yml"))]
    rooms: dict[str, list[dict]] = {}
    for block in blocks:
        rooms.setdefault(block["category"].split("/")[-1], []).append(block)
        files.append(File.generated(config, f"blocks/{block['id']}.md", content=block_page(block)))
    for source, page in ELSEWHERE.items():
        text = (ROOT / source).read_text()
        if source == "docs/blocks.md":
            text += pages_of(rooms)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links at the site's pages."""
    by_page = {new: old for old, new in ELSEWHERE.items()}
    source = by_page.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def pointed(match: re.Match) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        found = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = ELSEWHERE.get(f"{found}/README.md" if (ROOT / found).is_dir() else found, found)
        inside = found.removeprefix("docs/")
        if files.get_file_from_path(inside) is None:
            if not (ROOT / found).exists():
                # MkDocs says so.
                return match[0]
            return f"{words} (`{found}`)"
        here = posixpath.dirname(page.file.src_uri)
        return f"[{words}]({posixpath.relpath(inside, here or '.')}{anchor})"

    return LINK.sub(pointed, markdown)


def pages_of(rooms: dict[str, list[dict]]) -> str:
    """Links to the pages of all blocks, by their room in Companion."""
    parts = ["", "## A page for each, by its room in Companion", ""]
    for room, blocks in sorted(rooms.items()):
        # From the folder where the text of the page lies in the repository.
        links = ", ".join(f"[{b['label']}](blocks/{b['id']}.md)" for b in blocks)
        parts.append(f"- {room}: {links}")
    return "\n".join(parts) + "\n"


def block_page(block: dict) -> str:
    """Picture, parameters and documentation of a block."""
    name = block["id"].removeprefix("largesc_")
    parts = [f"# {block['label']}", "", f"`largesc.{name}`, under `{block['category']}`.", ""]
    parts += [picture(block), "", documentation(block["documentation"]), ""]
    shown = [p for p in block.get("parameters", []) if p.get("hide") != "all"]
    if shown:
        parts += ["| parameter | in Python | type | default |", "|---|---|---|---|"]
    for p in shown:
        default = str(p.get("default", "")).replace("|", "\\|")
        kind = DTYPES.get(p["dtype"], p["dtype"])
        if p["dtype"] == "enum":
            kind = ", ".join(f"`{option}`" for option in p["options"])
        parts.append(f"| {p.get('label', p['id'])} | `{p['id']}` | {kind} | `{default}` |")
    return "\n".join(parts) + "\n"


def documentation(text: str) -> str:
    """The yml's text with its heads in bold and its lists as Markdown wants them."""
    out: list[str] = []
    for line in text.strip().splitlines()[1:]:
        if line.startswith("- ") and out and out[-1] and not out[-1].startswith(("- ", "  ")):
            out.append("")
        out.append(re.sub(r"^([A-Z][a-z ]*):", r"**\1:**", line))
    return "\n".join(out)


def picture(block: dict) -> str:
    """The block with its ports, as SVG."""
    left, right = block.get("inputs", []), block.get("outputs", [])
    height = LINE * max(len(left), len(right), 1) + 2 * MARGIN
    side = 24 + CHARACTER * max((len(port_name(p)) for p in [*left, *right]), default=0)
    whole = WIDTH + 2 * side
    parts = [
        f'<svg viewBox="0 0 {whole:.0f} {height}" width="{whole:.0f}" height="{height}" role="img"'
        f' font-family="sans-serif" font-size="12" fill="currentColor">',
        f"<title>{escape(block['label'])}</title>",
        f'<rect x="{side:.0f}" y="1" width="{WIDTH}" height="{height - 2}" rx="4" fill="none"'
        ' stroke="currentColor"/>',
        f'<text x="{whole / 2:.0f}" y="{height / 2 + 4:.0f}" text-anchor="middle"'
        f' font-weight="bold">{escape(block["label"])}</text>',
    ]
    for ports, x, step, anchor in (
        (left, side, -1, "end"),
        (right, side + WIDTH, 1, "start"),
    ):
        for number, port in enumerate(ports):
            y = MARGIN + LINE * (number + 0.5)
            dashed = ' stroke-dasharray="3 2"' if port["domain"] == "message" else ""
            parts.append(
                f'<line x1="{x:.0f}" y1="{y}" x2="{x + 14 * step:.0f}" y2="{y}"'
                f' stroke="currentColor"{dashed}/>'
                f'<text x="{x + 18 * step:.0f}" y="{y + 4}" text-anchor="{anchor}">'
                f"{escape(port_name(port))}</text>"
            )
    return "".join([*parts, "</svg>"])


def port_name(port: dict) -> str:
    """What a port is called, a stream by its type."""
    return str(port.get("id") or port.get("label") or port.get("dtype", ""))
