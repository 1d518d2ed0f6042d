"""Summarises a result in words, for the console's final table and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ast_experiments.core.text import duration, joules

NOT_MEASURED = "not measured on this machine"
NOISY = 0.05
"""Lower end of the estimated share of wrong labels from which it is mentioned; clean data gave up to 0.003."""
_JOULES = ("energy/gpu_joules", "energy/gpu_joules_above_idle", "energy/cpu_joules")


def result_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what a run achieved and what it cost, as pairs of label and text.

    Facts without figures are left out, except energy, which then reads "not measured".

    Args:
        result: As in result.json: accuracies in percent, rates as shares, times in seconds.
    """
    accuracy = "accuracy, final" if result.get("status") == "finished" else "accuracy, so far"
    facts = [
        ("status", _status(result)),
        (accuracy, _percent(result.get("final_accuracy"))),
        ("accuracy, best", _best(result)),
        ("activation rate, mean", _number(result.get("mean_activation_rate"))),
        ("activation rate, last quarter", _last_quarter(result)),
        ("wrong labels, estimate", _wrong_labels(result)),
        ("rows trained", _count(result.get("rows_trained"))),
        ("rows scored", _count(result.get("rows_scored"))),
        ("rows offered", _count(result.get("rows_offered"))),
        ("control", _control(result.get("control") or {})),
        ("gate share", _gate_share(result.get("selection") or {})),
        ("nominal savings", _nominal(result)),
        ("compute savings", _compute(result)),
        ("budget", _budget(result.get("budget") or {})),
        ("seconds by phase", _phases(result)),
        ("energy", energy_text(result)),
        ("joules by phase", _joules_by_phase(result.get("energy") or {})),
        ("carbon", _carbon((result.get("energy") or {}).get("carbon") or {})),
        ("target accuracy", _goal(result)),
    ]
    return [(label, text) for label, text in facts if text]


def row_energy(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the joules of an epoch row under the keys of a result's `energy`; empty if not measured."""
    return {key.removeprefix("energy/"): value for key, value in row.items() if key in _JOULES}


def energy_text(figures: Mapping[str, Any]) -> str:
    """Formats the measured energy as one line, or says why nothing was measured."""
    energy = figures.get("energy") or {}
    parts = []
    if energy.get("gpu_joules") is not None:
        above = energy.get("gpu_joules_above_idle")
        notes = [] if above is None else [f"{joules(above)} above idle"]
        parts.append(_with_notes(f"GPU {joules(energy['gpu_joules'])}", [*notes, energy.get("source")]))
    if energy.get("cpu_joules") is not None:
        parts.append(_with_notes(f"CPU {joules(energy['cpu_joules'])}", [energy.get("cpu_source")]))
    if not parts:
        return _with_notes(NOT_MEASURED, [energy.get("why_not")])
    return ", ".join(parts)


def shared_text(result: Mapping[str, Any]) -> str:
    """Says what other runs used meanwhile, so that the times are longer; empty if nothing was noticed."""
    shared = result.get("shared")
    return f"{' and '.join(map(str, shared))} shared with other runs" if shared and isinstance(shared, list) else ""


def _status(result: Mapping[str, Any]) -> str:
    epochs, planned = result.get("epochs"), result.get("epochs_planned")
    if "status" not in result or epochs is None or planned is None:
        return str(result.get("status", ""))
    if result["status"] == "finished":
        return f"finished after {epochs:g} of {planned:g} epochs"
    return f"{result['status']}, {epochs:g} of {planned:g} epochs completed"


def _best(result: Mapping[str, Any]) -> str:
    text, epoch = _percent(result.get("best_accuracy")), result.get("best_epoch")
    return f"{text} (epoch {epoch:g})" if text and epoch is not None else text


def _wrong_labels(result: Mapping[str, Any]) -> str:
    """Formats the estimate of wrong labels if it is well above 0, and says if the method prefers or avoids them."""
    noise = result.get("label_noise_estimate") or {}
    if noise.get("low", 0.0) < NOISY:
        return ""
    text = f"{100 * noise['share']:.0f} % ({100 * noise['low']:.0f} to {100 * noise['high']:.0f} %)"
    uniform = (result.get("selection") or {}).get("uniform_share")
    if uniform is not None:
        return f"{text}; {100 * uniform:.0f} % of the rows that {result.get('method')} trains are now drawn uniformly"
    if not result.get("scoring"):
        return text
    return f"{text}; {result.get('method')} may train them most often: compare with method=rs2"


def _last_quarter(result: Mapping[str, Any]) -> str:
    text = _number(result.get("last_quarter_activation_rate"))
    target = result.get("last_quarter_target", result.get("target"))
    return f"{text} (target {target:.4g})" if text and target is not None else text


def _control(control: Mapping[str, Any]) -> str:
    if not control:
        return ""
    settled, rows = control.get("settling_window"), control.get("settling_rows")
    after = "" if rows is None else f" after {rows:,} rows offered under control"
    shares = ("overshoot", "saturated_share", "fallback_share")
    parts = ["did not settle" if settled is None else f"settled{after}"]
    if control.get("rms_error") is not None:
        parts.append(f"RMS rate error {control['rms_error']:.4f}")
    parts += [
        f"{key.removesuffix('_share')} {100 * control[key]:.3g} %" for key in shares if control.get(key) is not None
    ]
    return ", ".join(parts)


def _gate_share(selection: Mapping[str, Any]) -> str:
    share, target = selection.get("gate_share"), selection.get("gate_target")
    if share is None or target is None:
        return ""
    bound = selection.get("bound")
    guarantee = "no guarantee" if bound is None else f"guaranteed to be within {bound:.2g}"
    return f"{share:.4f} (target {target:.4g}), off by {abs(share - target):.2g}; {guarantee}"


def _nominal(result: Mapping[str, Any]) -> str:
    savings, skipped = result.get("nominal_savings"), result.get("skipped_share")
    if savings is None:
        return ""
    rest = f"; {100 * skipped:.1f} % of rows skipped" if skipped is not None else ""
    return f"{100 * savings:.1f} % under the nominal cost model, a formula of the rate{rest}"


def _budget(budget: Mapping[str, Any]) -> str:
    return f"{100 * budget['of']:.1f} % of {budget['amount']:,.6g} {budget['kind']} spent" if budget else ""


def _phases(result: Mapping[str, Any]) -> str:
    seconds = result.get("seconds") or {}
    text = ", ".join(f"{phase} {duration(each)}" for phase, each in seconds.items() if each)
    return "; ".join(filter(None, (text, shared_text(result)))) if text else ""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _compute(result: Mapping[str, Any]) -> str:
    savings = result.get("compute_savings")
    return "" if savings is None else f"{100 * savings:.1f} % of the FLOPs of training every offered row"


def _joules_by_phase(energy: Mapping[str, Any]) -> str:
    phases = energy.get("by_phase") or {}
    key = "gpu_joules" if energy.get("gpu_joules") is not None else "cpu_joules"
    return ", ".join(f"{phase} {joules(each[key])}" for phase, each in phases.items() if each.get(key) is not None)


def _carbon(carbon: Mapping[str, Any]) -> str:
    if not carbon:
        return ""
    return f"{carbon['gco2e']:.4g} g CO2e, at {carbon['g_per_kwh']:g} g/kWh ({carbon['source']})"


def _goal(result: Mapping[str, Any]) -> str:
    wanted = result.get("target_accuracy")
    if wanted is None:
        return ""
    if not result.get("target_reached"):
        return f"{wanted:g} % was not reached"
    price = result.get("joules_to_accuracy")
    spent = [duration(result["seconds_to_accuracy"])] + ([] if price is None else [joules(price)])
    return f"{wanted:g} % reached after {' and '.join(spent)}"


def _with_notes(text: str, notes: Sequence[str | None]) -> str:
    known = [note for note in notes if note]
    return f"{text} ({'; '.join(known)})" if known else text
