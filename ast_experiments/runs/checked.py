"""Schemas of what runs write, for reading it again: a value of a wrong type or size is left out, and named.

The files may come from other versions, from loops of one's own, from a broken disk or from a stranger. Unknown entries
stay; an entry that the readers use has the type below or is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
)

logger = logging.getLogger(__name__)

LARGEST = 1e30
"""Of any figure; FLOPs of the largest runs are below 1e27."""
DEPTH = 10
"""Levels of the deepest value."""

Number = Annotated[float, Strict(), Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Amount = Annotated[float, Strict(), Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Percent = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
Text = Annotated[str, Strict(), Field(max_length=100_000)]
Scalar = StrictBool | StrictInt | Number | Text | None


class _Entries(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Budget(_Entries):
    kind: Text
    amount: Number
    of: Number


class _NoiseEstimate(_Entries):
    share: Number
    low: Number
    high: Number
    suspects: Amount


class _Carbon(_Entries):
    gco2e: Number
    g_per_kwh: Number
    source: Text


class _Energy(_Entries):
    source: Text | None = None
    cpu_source: Text | None = None
    why_not: Text | None = None
    gpu_joules: Amount | None = None
    gpu_joules_above_idle: Number | None = None
    cpu_joules: Amount | None = None
    idle_power_w: Amount | None = None
    by_phase: dict[str, dict[str, Number | None]] | None = None
    apportioned: dict[str, Number] | None = None
    carbon: _Carbon | None = None


class _Selection(_Entries):
    gate_share: Number | None = None
    uniform_share: Number | None = None
    repeated_share: Number | None = None
    gate_target: Number | None = None
    bound: Number | None = None


class _Batch(_Entries):
    rows: Amount | None = None
    at_once: Amount | None = None
    processes: Amount | None = None
    lr: Number | None = None


class Result(_Entries):
    """Entries of result.json that readers use; docs/metrics.md says what they mean."""

    status: Text | None = None
    error: Text | None = None
    notes: list[Text] | None = None
    run_id: Text | None = None
    folder: Text | None = None
    dataset: Text | None = None
    model: Text | None = None
    method: Text | None = None
    recipe: Text | None = None
    scoring: Text | None = None
    uniform: StrictBool | None = None
    controller: Text | None = None
    significance: Text | None = None
    seed: Annotated[int, Strict(), Field(ge=-(2**63), lt=2**64)] | None = None
    experiment: Text | None = None
    group: Text | None = None
    tags: list[Text] | None = None
    overrides: list[Text] | None = None
    config_hash: Text | None = None
    started: Text | None = None
    finished: Text | None = None
    resumed: Amount | None = None
    commit: Text | None = None
    versions: dict[str, Scalar] | None = None
    hardware: dict[str, Scalar] | None = None
    ranks: Amount | None = None
    data_source: Text | None = None
    data_fingerprint: Text | None = None
    altered_rows: dict[str, Amount] | None = None
    train_samples: Annotated[float, Strict(), Field(gt=0, le=LARGEST, allow_inf_nan=False)] | None = None
    val_samples: Amount | None = None
    parameters: Amount | None = None
    batch: _Batch | None = None
    batch_split_from_step: Number | None = None
    epochs_planned: Amount | None = None
    epochs: Amount | None = None
    steps: Amount | None = None
    rows_trained: Amount | None = None
    rows_scored: Amount | None = None
    rows_offered: Amount | None = None
    rows_by_epoch: list[Amount] | None = None
    image_size_by_epoch: list[Amount] | None = None
    row_flops_by_epoch: list[Amount] | None = None
    target: Number | None = None
    mean_activation_rate: Number | None = None
    last_quarter_activation_rate: Number | None = None
    last_quarter_target: Number | None = None
    nominal_savings: Number | None = None
    skipped_share: Number | None = None
    compute_savings: Number | None = None
    compute_savings_by_size: Number | None = None
    flops: dict[str, Amount | None] | None = None
    seconds: dict[str, Amount | None] | None = None
    budget: _Budget | None = None
    label_noise_estimate: _NoiseEstimate | None = None
    selection: _Selection | None = None
    control: dict[str, Number | None] | None = None
    energy: _Energy | None = None
    final_accuracy: Percent | None = None
    final_accuracy_views: Percent | None = None
    final_val_loss: Number | None = None
    best_accuracy: Percent | None = None
    best_epoch: Number | None = None
    target_accuracy: Percent | None = None
    target_reached: StrictBool | None = None
    seconds_to_accuracy: Amount | None = None
    joules_to_accuracy: Amount | None = None


class Row(_Entries):
    """Entries of a row of metrics.jsonl; the metrics are numbers."""

    __pydantic_extra__: dict[str, Number | StrictBool | Text | list[Number] | None] = Field(  # pyright: ignore
        init=False
    )

    kind: Text = ""
    step: Number | None = None
    epoch: Number | None = None
    progress: Number | None = None
    samples_seen: Number | None = None
    samples_offered: Number | None = None


class _Sample(_Entries):
    label: StrictInt | None = None
    predicted: StrictInt | None = None
    confidence: Number | None = None
    visits: StrictInt | None = None
    last_loss: Number | None = None
    margin: Number | None = None
    where: Text = ""
    picture: Text = ""
    altered: list[Text] = []


class Gallery(_Entries):
    """Entries of samples.json."""

    classes: list[Text] = []
    galleries: dict[str, list[Annotated[int, Strict(), Field(ge=0)]]] = {}
    samples: dict[str, _Sample] = {}


class Event(_Entries):
    """A line of a study's journal."""

    event: Text
    run: Text
    arm: Text
    took_s: Amount = 0.0


RESULT, ROW, EVENT, GALLERY = (TypeAdapter(schema) for schema in (Result, Row, Event, Gallery))


def clean_result(result: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Returns the entries of a result that are what they should be; warns about the others, in one line."""
    shallow = {key: value for key, value in result.items() if _shallow(value)}
    kept, wrong = _pruned(RESULT, shallow)
    wrong += [key for key in result if key not in shallow]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        logger.warning("%s: %s%s is damaged or not a figure; left out.", path, ", ".join(wrong[:3]), more)
    return kept


def clean_row(row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns the entries of a row that are what they should be, and the keys of the others."""
    try:
        ROW.validate_python(row)
        kept, wrong = row, []
    except (ValidationError, RecursionError):
        kept, wrong = _pruned(ROW, {key: value for key, value in row.items() if _shallow(value)})
    no_figures = [key for key, value in kept.items() if "/" in key and isinstance(value, str | list)]
    return ({k: v for k, v in kept.items() if k not in no_figures} if no_figures else kept), wrong + no_figures


def clean_gallery(gallery: Any) -> dict[str, Any]:
    """Returns the entries of samples.json that are what they should be."""
    return _pruned(GALLERY, gallery)[0] if isinstance(gallery, dict) and _shallow(gallery) else {}


def is_event(row: Mapping[str, Any]) -> bool:
    """Returns whether a row is one of a study's journal."""
    try:
        EVENT.validate_python(dict(row))
        return True
    except (ValidationError, RecursionError):
        return False


def _pruned(schema: TypeAdapter[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a copy of nested values without those that do not fit the schema, and the keys of these."""
    kept, wrong = _copy(values), list[str]()
    while True:
        try:
            schema.validate_python(kept)
            return kept, wrong
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            removed = [key for detail in details if (key := _remove(kept, detail["loc"]))]
            wrong += removed
            if not removed:
                return {}, [*wrong, "all"]


def _remove(values: Any, place: tuple[int | str, ...]) -> str:
    """Removes the value at a place, or what contains it if that is missing or in a list; returns its dotted key."""
    path: list[Any] = []
    here = values
    for part in place:
        if not isinstance(here, dict) or part not in here:
            break
        path.append(part)
        here = here[part]
    if not path:
        return ""
    owner = values
    for part in path[:-1]:
        owner = owner[part]
    del owner[path[-1]]
    return ".".join(map(str, path))


def _copy(value: Any) -> Any:
    return {key: _copy(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _shallow(value: Any, depth: int = DEPTH) -> bool:
    """Returns whether a value has at most so many levels."""
    if not isinstance(value, dict | list):
        return True
    below = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_shallow(each, depth - 1) for each in below)
