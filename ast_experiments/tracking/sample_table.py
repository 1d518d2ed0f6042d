"""The samples of a run's page as a table in W&B."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_experiments.core.files import read_json
from ast_experiments.core.privacy import without_places

KEY = "samples"
COLUMNS = ("gallery", "id", "label", "predicted", "confidence", "visits", "last_loss", "altered", "where", "picture")


def table_rows(content: Mapping[str, Any]) -> list[list[Any]]:
    """Returns the rows of the table, in the order of `COLUMNS`; the picture is a data URI or empty.

    Args:
        content: Content of samples.json.
    """
    names, samples = content["classes"], content["samples"]

    def name(label: int | None) -> str:
        return names[label] if label is not None and 0 <= label < len(names) else ""

    rows = []
    for gallery, ids in content["galleries"].items():
        for each in ids:
            facts = samples[str(each)]
            known = {"gallery": gallery, "id": each, **facts}
            known |= {key: name(facts.get(key)) for key in ("label", "predicted")}
            known["altered"] = ", ".join(facts.get("altered", ()))
            rows.append([known.get(key) for key in COLUMNS])
    return rows


def log_table(run: Any, path: Path, *, paths: bool = False) -> None:
    """Logs samples.json to a W&B run as a table with pictures; nothing if there is no such file.

    Args:
        run: The W&B run.
        path: The file.
        paths: Keep home directories, user and host names in the places of the samples.

    Raises:
        DataError: If the file is damaged.
    """
    content = read_json(path)
    if content is None:
        return
    import wandb
    from PIL import Image

    def picture(uri: str) -> Any:
        return wandb.Image(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))) if uri else None

    rows = table_rows(content)
    data = [[*(row[:-1] if paths else without_places(row[:-1])), picture(row[-1])] for row in rows]
    run.log({KEY: wandb.Table(columns=list(COLUMNS), data=data)})
