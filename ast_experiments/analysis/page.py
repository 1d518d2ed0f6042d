"""Renders the package's HTML pages: reports, sweeps, comparisons and searches share one layout and style."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

REPORT = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Renders a page template. Values are escaped unless they are `Markup`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def embed(charts: Iterable[tuple[str, str, str | None]]) -> list[tuple[str, str, Markup]]:
    """Prepares charts for a template, without those that were not drawn.

    Args:
        charts: Title, caption and SVG of each chart; None for a chart without data.
    """
    from markupsafe import Markup

    return [(title, caption, Markup(drawing)) for title, caption, drawing in charts if drawing]
