"""The samples of a run for its page: rates by class, visits, and galleries of samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.analysis.draw import INKS, chart
from ast_experiments.core.files import read_json
from ast_experiments.core.text import percent
from ast_experiments.runs.checked import clean_gallery
from ast_experiments.runs.record import GALLERY, SAMPLES
from ast_experiments.selection.suspects import NONE_WRONG, no_estimate, suspects

MOST_CLASSES = 20
"""Classes of a table; of more, the most and the least trained ones are shown."""

BARS = 40
"""Bars of the chart of visits at most."""

UNEQUAL = 1.5
"""Classes count as equally large up to this ratio of the largest to the smallest."""

TITLES = {
    "suspects": (
        "Predicted as another class",
        "At the last visit and on average, the most suspicious first: wrong labels, or hard to learn.",
    ),
    "most": ("Trained most", "Samples with the most visits."),
    "least": ("Trained least", "The fewest visits; ties are broken at random."),
    "once": ("Never chosen again", "Trained in one epoch only, before the last; drawn."),
}

HARD = TITLES["suspects"][0], "At the last visit and on average, the clearest first. All of these labels may be right."
"""Title and caption of the suspects where the estimate is compatible with no wrong label."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """What a run left about its samples.

    Attributes:
        columns: Columns of samples.npz, each of shape (n,).
        epochs: Finished epochs.
        classes: Class names; empty if unknown.
        galleries: Rows to show, by gallery.
        samples: Facts and thumbnail of each of these rows, by row.
        estimate: Estimated share of wrong labels, as in result.json; empty if there is none.
        no_estimate: Why the predictions tell nothing about labels; empty if they may.
    """

    columns: Mapping[str, np.ndarray]
    epochs: int
    classes: Sequence[str]
    galleries: Mapping[str, Sequence[int]]
    samples: Mapping[str, Mapping[str, Any]]
    estimate: Mapping[str, Any]
    no_estimate: str = ""

    @property
    def none_wrong(self) -> bool:
        """Whether the estimate is compatible with no wrong label."""
        return bool(self.estimate) and self.estimate["low"] < NONE_WRONG

    @property
    def marks(self) -> bool:
        """Whether the page marks samples as suspected."""
        return bool(self.estimate) and not self.no_estimate and not self.none_wrong


def read_samples(directory: Path, result: Mapping[str, Any]) -> SampleRecord | None:
    """Reads what a run left about its samples.

    Args:
        directory: Run directory.
        result: Content of its result.json.

    Returns:
        The record; None without a table of samples, or if the table is damaged.
    """
    if not (directory / SAMPLES).is_file():
        return None
    try:
        with np.load(directory / SAMPLES, allow_pickle=False) as file:
            columns = {key: file[key] for key in file.files if key != "name"}
        _check(columns)
        pictures = clean_gallery(read_json(directory / GALLERY))
    except Exception as error:  # a damaged archive brings about errors of many kinds
        logger.warning("%s cannot be read (%s); its samples are not shown.", directory / SAMPLES, error)
        return None
    return SampleRecord(
        columns,
        epochs=int(result.get("epochs") or columns["last_epoch"].max(initial=-1) + 1),
        classes=pictures.get("classes", ()),
        galleries=pictures.get("galleries", {}),
        samples=pictures.get("samples", {}),
        estimate=result.get("label_noise_estimate") or {},
        no_estimate=no_estimate(result),
    )


def _check(columns: Mapping[str, np.ndarray]) -> None:
    """Checks that the columns are those of one table.

    Raises:
        ValueError: If they are not.
    """
    for key in ("label", "visits", "last_epoch"):
        if key not in columns or columns[key].dtype.kind not in "iu":
            raise ValueError(f"it has no column {key} of whole numbers")
    wrong = [
        key for key, each in columns.items() if each.shape != columns["label"].shape or each.dtype.kind not in "biuf"
    ]
    if columns["label"].ndim != 1 or wrong:
        raise ValueError(f"its columns are not one table: {', '.join(wrong[:3])}")
    bounds = [(columns["label"], 0, 2**24), (columns["visits"], 0, 2**31), (columns["last_epoch"], -1, 2**31)]
    if any(len(each) and (each.min() < low or each.max() > high) for each, low, high in bounds):
        raise ValueError("its labels, visits or epochs are impossible")


def sample_section(record: SampleRecord, *, salt: str = "") -> dict[str, Any]:
    """Returns the values of the section for the template: lines, classes, chart of visits, and galleries."""
    from markupsafe import Markup

    return {
        "lines": [line for line in (*_spread(record), *_noise(record)) if line],
        "classes": class_rows(record),
        "more": max(0, len(_sizes(record)) - MOST_CLASSES),
        "suspected": record.marks,
        "visits": Markup(chart(lambda axes: _visits(axes, record), f"visits{salt}", height=1.9)),
        "galleries": shown(record),
    }


def class_rows(record: SampleRecord) -> list[dict[str, Any]]:
    """Returns a row for each class that has samples, of many classes for the 10 most and the 10 least trained ones.

    Each row has the class's `name`, `size`, activation `rate` (mean visits per epoch), and `suspected`, the share of
    suspected wrong labels.
    """
    sizes, rates, suspected = _sizes(record), class_rates(record), _suspected(record)
    there = np.flatnonzero(sizes)
    if len(there) > MOST_CLASSES:
        order = there[np.argsort(-rates[there], kind="stable")]
        there = np.concatenate([order[: MOST_CLASSES // 2], order[-MOST_CLASSES // 2 :]])
    return [
        {
            "name": class_name(record, int(each)),
            "size": int(sizes[each]),
            "rate": float(rates[each]),
            "suspected": float(suspected[each] / sizes[each]),
        }
        for each in there
    ]


def class_rates(record: SampleRecord) -> np.ndarray:
    """Returns the activation rate of each class: mean visits of its samples per epoch, shape (classes,)."""
    labels, visits = record.columns["label"], record.columns["visits"]
    trained = np.bincount(labels, weights=visits, minlength=len(record.classes))
    return trained / np.maximum(1, _sizes(record)) / max(1, record.epochs)


def class_name(record: SampleRecord, label: int) -> str:
    """Returns the name of a class, or its index if the name is unknown."""
    return str(record.classes[label]) if 0 <= label < len(record.classes) else f"class {label}"


def shown(record: SampleRecord) -> list[dict[str, Any]]:
    """Returns the galleries that have samples: `title`, `caption` and `samples` with names in place of classes."""
    titles = TITLES | ({"suspects": HARD} if record.none_wrong else {})
    return [
        {"title": title, "caption": caption, "samples": [_sample(record, row) for row in record.galleries[key]]}
        for key, (title, caption) in titles.items()
        if record.galleries.get(key) and not (key == "suspects" and record.no_estimate)
    ]


def _sample(record: SampleRecord, row: int) -> dict[str, Any]:
    facts = record.samples.get(str(row), {})
    picture, predicted = str(facts.get("picture", "")), facts.get("predicted", -1)
    share, loss = facts.get("confidence"), facts.get("last_loss")
    return {
        "id": row,
        "picture": picture if picture.startswith("data:image/") else "",
        "small": picture.startswith("data:image/png"),
        "label": class_name(record, facts.get("label", -1)),
        "predicted": "" if predicted is None or predicted < 0 else class_name(record, predicted),
        "confidence": "" if share is None else f"{100 * share:.0f} %",
        "right": predicted == facts.get("label"),
        "visits": facts.get("visits", 0),
        "loss": "" if loss is None else f"{loss:.2f}",
        "where": facts.get("where", ""),
        "altered": ", ".join(each.replace("_", " ") for each in facts.get("altered", ())),
    }


def _sizes(record: SampleRecord) -> np.ndarray:
    return np.bincount(record.columns["label"], minlength=len(record.classes))


def _suspected(record: SampleRecord) -> np.ndarray:
    """Counts the suspects of each class: as many as the estimate says, the most suspicious ones."""
    columns, classes = record.columns, len(_sizes(record))
    if not record.marks:
        return np.zeros(classes)
    rows = suspects(columns["label"], columns["predicted"], columns["margin"])[: record.estimate["suspects"]]
    return np.bincount(columns["label"][rows], minlength=classes)


def _spread(record: SampleRecord) -> list[str]:
    """Says how visits are spread over samples and over rare and common classes."""
    visits, sizes = record.columns["visits"], _sizes(record)
    if not len(visits):
        return []
    if visits.min() == visits.max():
        return [f"Every sample was trained in {visits.min()} of {record.epochs} epochs."]
    ordered = np.sort(visits)[::-1]
    top = ordered[: max(1, len(ordered) // 10)].sum() / max(1, ordered.sum())
    never, once = np.mean(visits == 0), np.mean(visits == 1)
    least = f"{percent(never)} of the samples were never trained, {percent(once)} once."
    if visits.min():
        often = f", {percent(once)} only once" if once else f" at least {visits.min()} times"
        least = f"Every sample was trained{often}."
    lines = [f"{least} The tenth that was trained most got {percent(top, 0)} of all visits."]
    there = np.flatnonzero(sizes)
    if len(there) > 1 and sizes[there].max() >= UNEQUAL * sizes[there].min():
        order = there[np.argsort(sizes[there], kind="stable")]
        rare = np.isin(record.columns["label"], order[: len(order) // 2])
        shares = [visits[flags].mean() / max(1, record.epochs) for flags in (rare, ~rare)]
        lines.append(
            f"Activation rate: {shares[0]:.3f} in the rarer half of the classes, {shares[1]:.3f} in the others."
        )
    return lines


def _noise(record: SampleRecord) -> list[str]:
    found, known = record.estimate, record.columns.get("label_noise")
    if record.no_estimate and "predicted" in record.columns:
        return [f"No estimate of wrong labels: {record.no_estimate}."]
    if not found:
        return []
    count = found["suspects"]
    samples = "sample is" if count == 1 else f"{count:,} samples are"
    named = f" The most suspicious {samples} marked as suspected." if count else ""
    if record.none_wrong:
        named = " That is compatible with none, so no sample is marked as suspected."
    truth = "" if known is None else f" The regime gave {percent(known.mean())} a wrong label."
    share, low, high = (percent(found[key]) for key in ("share", "low", "high"))
    return [f"Estimated wrong labels: {share} ({low} to {high}), assuming equal shares in every class.{named}{truth}"]


def _visits(axes: Any, record: SampleRecord) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    visits = record.columns["visits"]
    step = max(1, -(-(int(visits.max(initial=0)) + 1) // BARS))
    counts = np.bincount(visits // step)
    places = np.arange(len(counts)) * step + (step - 1) / 2
    axes.bar(places, counts, width=0.86 * step, color=INKS["c1"], linewidth=0)
    axes.plot(places, counts, linestyle="none", label="samples")  # not drawn: the data of the bars
    axes.set_xlabel("visits (epochs that trained the sample)" + (f", {step} to a bar" if step > 1 else ""))
    axes.set_ylabel("samples")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(axis="y", color=INKS["rule"], linewidth=0.6)
