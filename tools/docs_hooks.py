"""MkDocs hooks that add pages outside docs/ to the site and write out the commands' options and the docstrings.

Links are written as GitHub needs them, relative to their file. In the site they lead to the page or image made from the
target; links to any other file of the checkout lead to that file on GitHub.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Testing/README.md",
    "Resources/screenshots/panel.png",
    "Resources/screenshots/views.png",
)
"""Files outside docs/ that are pages or images of the site; they keep their paths."""
COMMANDS = "<!-- In the site the options of every command follow here. -->"
DOCSTRINGS = "<!-- In the site the docstrings of these names follow here. -->"
_NAME = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<after>(#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links into the site, and insert the commands' options and the docstrings at their places."""
    here = page.file.src_uri if page.file.src_uri in OUTSIDE else f"docs/{page.file.src_uri}"

    def point(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link["path"]))
        uri = target.removeprefix("docs/") if target.startswith("docs/") or target in OUTSIDE else None
        if uri is not None and files.get_file_from_path(uri):
            path = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        elif uri is None and (ROOT / target).exists():
            path = f"{config.extra['repository']}/blob/main/{target}"
        else:
            return link[0]  # a broken link, which fails a strict build
        return f"{link['before']}{path}{link['after']}"

    *tables, end = _LINK.sub(point, markdown).split(DOCSTRINGS)
    markdown = "".join(table + _docstrings(table) for table in tables) + end
    return markdown.replace(COMMANDS, _commands() if COMMANDS in markdown else "")


def _docstrings(table: str) -> str:
    """Return directives that mkdocstrings replaces by the docstrings of the names in a table."""
    return "\n".join(f"::: MedCLIPSAMLib.{name}" for name in _NAME.findall(table))


def _commands() -> str:
    """Return the help of the whole command line as Markdown."""
    import typer
    from typer.cli import get_docs_for_click

    from MedCLIPSAMLib.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="medclipsam", indent=1)
    return re.sub(r"`[^`]*`|<", lambda found: "&lt;" if found[0] == "<" else found[0], text)
