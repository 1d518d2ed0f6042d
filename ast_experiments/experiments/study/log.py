"""Records in the journal what becomes of the runs of a study, and prints it."""

from __future__ import annotations

import time
from typing import Any

from ast_experiments.core.text import rough_duration
from ast_experiments.experiments.study.journal import append_event, read_journal
from ast_experiments.experiments.study.plan import StudyRun
from ast_experiments.experiments.study.queue import StudyQueue

JOURNALED = (
    "final_accuracy", "mean_activation_rate", "rows_trained", "seconds", "flops", "energy", "resumed", "shared",
)  # fmt: skip


class StudyLog:
    """Writes the journal of a study; only the process that holds the study's lock does so.

    Args:
        queue: Of the study.
        at_once: How many runs go on together, for the estimate of the remaining time.
    """

    def __init__(self, queue: StudyQueue, at_once: int = 1) -> None:
        self.queue, self.at_once = queue, at_once
        self._estimate: tuple[float, float] | None = None

    def decide(self) -> None:
        """Makes every decision that the finished runs allow, and prints it."""
        for line in self.queue.decide():
            print(line, flush=True)

    def catch_up(self) -> None:
        """Journals the runs that finished after an `ast-bench` was killed."""
        events = {(row["run"], row["event"]) for row in read_journal(self.queue.folder)}
        for run in self.queue.runs():
            if (run.path, "started") in events and (run.path, "finished") not in events and self.queue.finished(run):
                seconds = sum(self.queue.result(run).get("seconds", {}).values())
                append_event(self.queue.folder, "finished", run, **self._facts(run, seconds))

    def started(self, run: StudyRun) -> None:
        """Notes that a run starts."""
        append_event(self.queue.folder, "started", run)

    def ended(self, run: StudyRun, seconds: float, error: str | None) -> None:
        """Notes how a run ended, and prints its accuracy.

        Args:
            run: The run.
            seconds: Wall time.
            error: Why it failed, in one line; None if it has finished.
        """
        queue = self.queue
        queue.reload(run)
        facts = self._facts(run, seconds)
        if error is not None:
            queue.failed[run] = error
            append_event(queue.folder, "failed", run, error=error, **facts)
            return
        append_event(queue.folder, "finished", run, **facts)
        left = self.seconds_left()
        self._estimate = None if left is None else (left, time.monotonic())
        rest = "" if left is None else f"; about {rough_duration(left)} left"
        done, total = self.counts()
        accuracy = queue.result(run)["final_accuracy"]
        print(f"[{done}/{total}] {run.title}: {accuracy:.2f} % in {rough_duration(seconds)}{rest}", flush=True)

    def _facts(self, run: StudyRun, seconds: float) -> dict[str, Any]:
        found = {key: value for key, value in self.queue.result(run).items() if key in JOURNALED}
        return found | {"took_s": round(seconds, 3)}

    def counts(self) -> tuple[int, int]:
        """Returns how many runs have ended, and how many there are."""
        ended = self.queue.done() + len(self.queue.failed)
        return ended, ended + self.queue.remaining()[0]

    def seconds_left(self) -> float | None:
        """Estimates the time until the study ends; None if nothing is left or no run has finished."""
        left, seconds = self.queue.remaining()
        return None if not left or seconds is None else seconds / self.at_once

    def rest(self) -> str:
        """Says how much time is left by the estimate after the last run; empty without one."""
        if self._estimate is None:
            return ""
        seconds, since = self._estimate
        return f"about {rough_duration(max(0.0, seconds - (time.monotonic() - since)))} left"

    def status(self) -> str:
        """Says how far the study is."""
        done = self.queue.done()
        return f"{done} of {done + self.queue.remaining()[0] + len(self.queue.failed)} runs are done"
