"""Renders the package's HTML pages: reports, sweeps, comparisons and searches share one layout and style."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast_experiments.core.privacy import without_places

if TYPE_CHECKING:
    from markupsafe import Markup

REPORT = "report.html"
_UNITS = re.compile(r"(?<=\d) (?=[%±]|[kMGTPE]?(?:FLOPs|J|s|rows)\b)|(?<=±) (?=\d)")
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, *, paths: bool = False, **values: Any) -> str:
    """Renders a page template. Values are escaped unless they are `Markup`.

    Args:
        template: Its name.
        paths: Whether texts keep home directories, user and host names.
        values: Of the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if paths else _private,
    )
    environment.filters["unbroken"] = unbroken
    return environment.get_template(template).render(**values)


def unbroken(text: str | None) -> str | None:
    """Keeps a figure, its unit and its ± on one line, by no-break spaces."""
    return text and _UNITS.sub("\u00a0", text)


def _private(value: Any) -> Any:
    return without_places(value) if type(value) is str else value


def embed(charts: Iterable[tuple[str, str, str | None]]) -> list[tuple[str, str, Markup]]:
    """Prepares charts for a template, without those that were not drawn.

    Args:
        charts: Title, caption and SVG of each chart; None for a chart without data.
    """
    from markupsafe import Markup

    return [(title, caption, Markup(drawing)) for title, caption, drawing in charts if drawing]
