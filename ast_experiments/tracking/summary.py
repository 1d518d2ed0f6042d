"""The facts of a result in words, for the console's last table and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_MEASURED = "not measured on this machine; savings shown are nominal, not joules"
_NOMINAL = {"energy/nominal_savings", "energy/skipped_share"}


def result_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what a run reached and spent, as pairs of label and text.

    Facts whose figures are absent are left out, but for energy: that nothing was measured is said.

    Args:
        result: The result, as in result.json; accuracies in percent, rates as shares, times in seconds.
    """
    facts = [
        ("status", _status(result)),
        ("accuracy, final", _percent(result.get("final_accuracy"))),
        ("accuracy, best", _best(result)),
        ("activation rate, mean", _number(result.get("mean_activation_rate"))),
        ("activation rate, last quarter", _last_quarter(result)),
        ("rows trained", _count(result.get("rows_trained"))),
        ("rows scored", _count(result.get("rows_scored"))),
        ("rows offered", _count(result.get("rows_offered"))),
        ("control", _control(result.get("control") or {})),
        ("nominal savings", _nominal(result)),
        ("seconds by phase", _phases(result.get("seconds") or {})),
        ("energy", energy_text(result)),
    ]
    return [(label, text) for label, text in facts if text]


def measured_energy(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures that come from an energy meter, by key; empty where nothing was measured.

    Nominal savings are none of them. Mappings in `figures` are looked into: `{"energy": {"gpu_joules": 1}}`
    reads like `{"energy/gpu_joules": 1}`.
    """
    flat = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}/{inner}": each for inner, each in value.items()})
        else:
            flat[key] = value
    return {
        key: value
        for key, value in flat.items()
        if value is not None and key not in _NOMINAL and ("joules" in key or key.startswith("energy/"))
    }


def energy_text(figures: Mapping[str, Any]) -> str:
    """Returns the measured energy in one line, or says that there is none."""
    measured = measured_energy(figures)
    if not any("joules" in key for key in measured):
        return NOT_MEASURED
    return ", ".join(f"{key.removeprefix('energy/')} {_joules(key, value)}" for key, value in measured.items())


def duration(seconds: float) -> str:
    """Returns a time in seconds as text: "3.21 s", "4 min 05 s" or "2 h 03 min"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _status(result: Mapping[str, Any]) -> str:
    epochs, planned = result.get("epochs"), result.get("epochs_planned")
    ran = f" after {epochs:g} of {planned:g} epochs" if epochs is not None and planned is not None else ""
    return f"{result['status']}{ran}" if "status" in result else ""


def _best(result: Mapping[str, Any]) -> str:
    text, epoch = _percent(result.get("best_accuracy")), result.get("best_epoch")
    return f"{text} (epoch {epoch:g})" if text and epoch is not None else text


def _last_quarter(result: Mapping[str, Any]) -> str:
    text, target = _number(result.get("last_quarter_activation_rate")), result.get("target")
    return f"{text} (target {target:.4g})" if text and target is not None else text


def _control(control: Mapping[str, Any]) -> str:
    if not control:
        return ""
    settled, rows = control.get("settling_window"), control.get("settling_rows")
    after = f" ({rows:,} rows offered)" if rows is not None else ""
    shares = ("overshoot", "saturated_share", "fallback_share")
    parts = ["never settled" if settled is None else f"settled at control row {settled}{after}"]
    if control.get("rms_error") is not None:
        parts.append(f"RMS rate error {control['rms_error']:.4f}")
    parts += [
        f"{key.removesuffix('_share')} {100 * control[key]:.3g} %" for key in shares if control.get(key) is not None
    ]
    return ", ".join(parts)


def _nominal(result: Mapping[str, Any]) -> str:
    savings, skipped = result.get("nominal_savings"), result.get("skipped_share")
    if savings is None:
        return ""
    rest = f"; {100 * skipped:.1f} % of rows skipped" if skipped is not None else ""
    return f"{100 * savings:.1f} % by the nominal cost model, a formula of the rate{rest}"


def _phases(seconds: Mapping[str, Any]) -> str:
    return ", ".join(f"{phase} {duration(each)}" for phase, each in seconds.items() if each)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _joules(key: str, value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if "joules" not in key:
        return f"{value:.4g}"
    for factor, unit in ((1e6, "MJ"), (1e3, "kJ")):
        if abs(value) >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.4g} J"
