"""Tables of all settings: types and ranges from the schema, values and meanings from the files in conf/."""

from __future__ import annotations

import dataclasses
import re
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ast_experiments.config.groups import CONF
from ast_experiments.config.schema import CHOICES, SHARED, RunConfig

SETTING = re.compile(r"( *)([\w./]+):(?: +([^#\s].*?))?(?:  +# (.*))?")
INHERITED = re.compile(r"  - (?!_self_)(/?)(\w+)(?:@_here_)?(?:  # .*)?")
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", types.NoneType: "null"}


class Setting(NamedTuple):
    """A line of a yaml file: a value as it is written, and the comment behind it."""

    value: str
    comment: str


def tables() -> str:
    """All groups and their choices, as Markdown."""
    parts = ["## Settings of a run", table(fields(RunConfig), {"": read(CONF / "config.yaml")[1]})]
    for group, choices in CHOICES.items():
        parts += [f"## {group}", heads(group)]
        for schema, names in alike(choices):
            settings = {name: read(CONF / group / f"{name}.yaml")[1] for name in names}
            rows = table(fields(schema), settings, f"{group}.")
            parts += [f"### {group}: {', '.join(names)}", rows] if rows else []
    for group, schema in SHARED.items():
        settings = {file.stem: read(file)[1] for file in sorted((CONF / group).glob("*.yaml"))}
        parts += [f"## {group}", heads(group), table(fields(schema), settings, f"{group}.")]
    for group in ("experiment", "sweep", "debug"):
        parts += [f"## {group}", heads(group)]
    return "\n\n" + "\n\n".join(parts) + "\n"


def alike(choices: Mapping[str, type]) -> list[tuple[type, list[str]]]:
    """Groups choices that have the same settings; one schema for each group, and the names."""
    groups: dict[str, tuple[type, list[str]]] = {}
    for name, schema in choices.items():
        groups.setdefault(repr(fields(schema)), (schema, []))[1].append(name)
    return list(groups.values())


def read(file: Path) -> tuple[list[str], dict[str, Setting]]:
    """Reads a yaml file: the lines of the comment at its head, and its settings by dotted key, inherited ones included.

    A setting without a comment takes that of the choice it is inherited from.
    """
    head: list[str] = []
    own: dict[str, Setting] = {}
    inherited: dict[str, Setting] = {}
    parents: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        match, base = SETTING.fullmatch(line), INHERITED.fullmatch(line)
        if base:
            inherited |= read((file.parents[1] if base[1] else file.parent) / f"{base[2]}.yaml")[1]
        elif line == "defaults:":
            continue
        elif match:
            indent, key, value, comment = match.groups()
            parents = [*parents[: len(indent) // 2], key]
            own[".".join(parents)] = Setting(value or "", comment or "")
        elif line.startswith("# ") and not own and "@package" not in line:
            head.append(line[2:])
    settings = inherited | {
        key: Setting(value, comment or inherited.get(key, Setting("", "")).comment)
        for key, (value, comment) in own.items()
    }
    return head, settings


def heads(group: str) -> str:
    """What each choice of a group is, by the head of its file; commands in it as code."""
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        text = [f"`{line}`." if re.match(r"ast-\w+( |$)", line) else plain(line) for line in read(file)[0]]
        lines.append(f"* `{group}={file.stem}`: {' '.join(text)}")
    return "\n".join(lines)


def fields(schema: type, prefix: str = "") -> dict[str, Any]:
    """The annotations of a dataclass by dotted key, but for the name of the choice; a nested one before its own."""
    found: dict[str, Any] = {}
    for key, kind in get_type_hints(schema, include_extras=True).items():
        if key != "name":
            found[prefix + key] = kind
            for part in (kind, *get_args(kind)):
                if isinstance(part, type) and dataclasses.is_dataclass(part):
                    found |= fields(part, f"{prefix}{key}.")
    return found


def table(kinds: Mapping[str, Any], choices: Mapping[str, Mapping[str, Setting]], prefix: str = "") -> str:
    """A row for each setting; nothing if there is none."""
    rows = []
    for key, kind in kinds.items():
        there = {name: settings[key] for name, settings in choices.items() if key in settings}
        values = varied({name: setting.value for name, setting in there.items()}, code)
        meaning = varied({name: setting.comment for name, setting in there.items()}, plain)
        cells = (f"`{prefix}{key}`", values, in_words(kind), meaning)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(["| setting | value | type and range | meaning |", "|---|---|---|---|", *rows]) if rows else ""


def varied(texts: Mapping[str, str], form: Callable[[str], str]) -> str:
    """Each different text once: plainly the one of most choices, the others after the names of those that have them."""
    counts = Counter(text for text in texts.values() if text)
    parts = []
    for text, count in counts.most_common():
        names = ", ".join(f"`{name}`" for name, said in texts.items() if said == text)
        parts.append(form(text) if 2 * count > len(texts) else f"in {names}: {form(text)}")
    return "; ".join(parts)


def code(value: str) -> str:
    """A value as it is typed; one from the environment in two parts, which a narrow page can break."""
    return "`{}`".format(re.sub(r"\$\{oc\.env:(\w+),'(.*)'\}", r"$\1`, else `\2", value))


def plain(text: str) -> str:
    """Text in which Markdown takes no path for emphasis."""
    return text.replace("/*", r"/\*")


def in_words(kind: Any) -> str:
    """A type and its range, e.g. "number, above 0, at most 1, or null"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [limit for mark in parts[1:] for limit in getattr(mark, "metadata", [mark])]
        text = ", ".join(filter(None, [in_words(parts[0]), *map(limit_in_words, limits)]))
        return re.sub(r"(\d+) or more values, at most \1 values", r"\1 values", text)
    if origin is Literal:
        return " or ".join(filter(None, [", ".join(f"`{part}`" for part in parts[:-1]), f"`{parts[-1]}`"]))
    if origin in (Union, types.UnionType):
        texts = [in_words(part) for part in parts]
        return ", ".join(texts[:-1]) + (", or " if "," in texts[0] else " or ") + texts[-1]
    if origin in (list, Sequence):
        return f"list of [{in_words(parts[0])}]"
    return "the settings below" if dataclasses.is_dataclass(kind) else WORDS[kind]


def limit_in_words(limit: Any) -> str:
    """A bound of the value or of the length of a list; nothing for other marks."""
    forms = {
        "ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}",
        "min_length": "{} or more values", "max_length": "at most {} values",
    }  # fmt: skip
    return next((form.format(getattr(limit, key)) for key, form in forms.items() if hasattr(limit, key)), "")
