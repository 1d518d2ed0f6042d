"""The documentation site: sphinx-build -W -c docs . build/docs, from the top of the project.

The pages are the Markdown files of the repository, read where they are, so that a link works in both. The front page
is README.md, and the list of pages in it is the navigation. Nothing is loaded from outside.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

import reference

project = "ast-experiments"
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "outputs/README.md"]
exclude_patterns = [".*", "build", "wandb", "outputs/[!R]*"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
highlight_language = "none"
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Adds the navigation and the tables; a link that is called as its file gets the title of the page."""
    if page == root_doc:
        source[0] += navigation(source[0], app.env.found_docs - {root_doc})
    elif page == "docs/configuration":
        source[0] += reference.tables()
    source[0] = re.sub(r"\[[\w./-]+\.md\]\(", "[](", source[0])
    # A picture for two themes, which Sphinx would not copy.
    source[0] = re.sub(
        r'<picture>.*?<img src="(.*?)" alt="(.*?)">.*?</picture>', r"![\2](\1)", source[0], flags=re.DOTALL
    )


def navigation(readme: str, pages: set[str]) -> str:
    """The list of links under `## Documentation` as tables of contents; pages that are not in it follow."""
    text, listing = "", readme.partition("\n## Documentation\n")[2]
    for heading, links in re.findall(r"^\* \*\*(.*?)\*\*: ((?:.+\n)+?)(?=\* |\n)", listing, re.MULTILINE):
        listed = re.findall(r"\[(.*?)\]\((.*?)\.md\)", links)
        pages = pages - {page for _, page in listed}
        text += contents(heading, [f"{title[:1].upper()}{title[1:]} <{page}>" for title, page in listed])
    return text + (contents("More", sorted(pages)) if pages else "")


def contents(heading: str, entries: list[str]) -> str:
    """A table of contents for the side of the page."""
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {heading}", "", *entries, "```", ""])


def front_page(app: Sphinx, problem: Exception | None) -> None:
    """Gives the front page the name under which servers look for it."""
    if problem is None:
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Connects the above."""
    app.connect("source-read", complete)
    app.connect("build-finished", front_page)
