"""Copies log rows to Weights & Biases."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from ast_experiments.core.privacy import without_places
from ast_experiments.tracking.rows import flat
from ast_experiments.tracking.sample_table import log_table

UsedMode = Literal["online", "offline", "disabled"]
Mode = Literal["auto", "online", "offline", "disabled"]

CHECK_S = 10.0
"""Seconds within which the server must respond before an online run starts."""

_ENVIRONMENT_MODES: dict[str, UsedMode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
_EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 130}  # 130: ended by SIGINT, as in a shell
_AXES = {"step": "samples_seen", "epoch": "epoch"}

logger = logging.getLogger(__name__)


class WandbTracker:
    """Logs rows to a W&B run with its files in `run_dir/wandb`.

    Never prompts for a key, and waits for the server only as long as `timeout`. Without a key or a responding server,
    an online run becomes an offline one, with a warning; `wandb sync` uploads the files later. If the server
    refuses the run, the run continues offline as `<run_id>-offline`. In a process started by a W&B Sweeps agent,
    the agent's id, project and entity apply.

    W&B merges rows of the same step. Each namespace of metrics ("control/", "val/", ...) is plotted against the axis
    of the row in which it first appears: `samples_seen` for step rows, `epoch` for epoch rows.

    Args:
        run_dir: Directory of the run.
        mode: "auto" follows `WANDB_MODE`; if that is not set, the run is online if an API key is configured. Any
            other mode overrides the environment.
        project: W&B project.
        entity: W&B user or team; None for the key's default.
        group: Study of the run.
        job_type: Kind of work, such as "train".
        tags: For example dataset, model, method and controller.
        name: Display name.
        config: Resolved configuration, in plain containers.
        run_id: Id of the run; an existing id continues that run.
        artifacts: Files that an online run uploads when it finishes, as one artifact of type "model".
        samples: A samples.json to log as a table when the run finishes; None logs none.
        timeout: Seconds to wait for the server before going offline, and again for the upload at the end.
        paths: Keep home directories, user and host names in what W&B gets.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        mode: Mode = "auto",
        project: str | None = "ast-experiments",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        artifacts: Sequence[Path] = (),
        samples: Path | None = None,
        timeout: float = 60.0,
        paths: bool = False,
    ) -> None:
        import wandb

        if os.environ.get("WANDB_SWEEP_ID"):  # W&B warns about settings that the agent has set already
            project = entity = run_id = None
        os.makedirs(run_dir, exist_ok=True)  # otherwise W&B uses the system's temporary directory
        options = {
            "dir": os.fspath(run_dir),
            "project": project,
            "entity": entity,
            "group": group,
            "job_type": job_type,
            "tags": list(tags),
            "name": name,
            "config": dict(config or {}),
            "id": run_id,
            "resume": "allow" if run_id else None,
        }
        self.mode: UsedMode = resolve_mode(mode, min(CHECK_S, timeout))
        try:
            self._run = wandb.init(mode=self.mode, settings=_settings(timeout, paths), **options)
        except Exception as error:
            if self.mode != "online":
                raise
            logger.warning("W&B refuses the run (%s); it continues offline.", str(error)[:300])
            self.mode = "offline"
            if run_id:  # W&B's process still holds the id of the refused run
                options["id"] = f"{run_id}-offline"
            self._run = wandb.init(mode=self.mode, settings=_settings(timeout, paths), **options)
        self._artifacts, self._samples = tuple(artifacts), samples
        self._finished, self._paths = False, paths
        self._namespaces: set[str] = set()
        for axis in ("epoch", "progress", "samples_seen"):
            self._run.define_metric(axis)

    @property
    def directory(self) -> Path | None:
        """Directory of the run's W&B files, for `wandb sync` or `wandb leet`; None if disabled."""
        return None if self.mode == "disabled" else Path(self._run.settings.sync_dir)

    @property
    def url(self) -> str | None:
        """URL of the run's page; None unless online."""
        return self._run.url if self.mode == "online" else None

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self._run.id

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs one row at its own step."""
        metrics = {key: value for key, value in row.items() if key not in {"kind", "step"}}
        axis = _AXES.get(row.get("kind", "step"), "samples_seen")
        for namespace in {key.split("/")[0] for key in metrics if "/" in key} - self._namespaces:
            self._namespaces.add(namespace)
            self._run.define_metric(f"{namespace}/*", step_metric=axis)
        self._run.log(metrics, step=int(row["step"]))

    def flush(self) -> None:
        """Does nothing: W&B's own process writes twice a second."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Copies the flattened result to the summary and closes the run; safe to call twice."""
        if self._finished:
            return
        self._finished = True
        try:
            reached = {key: value for key, value in result.items() if key not in ("wandb", "folder")}
            summary = flat(reached if self._paths else without_places(reached))
            # Of lists, W&B asks whether they are a table of pandas, whose import takes longer than a short run.
            texts = {key: json.dumps(value) for key, value in summary.items() if isinstance(value, list)}
            self._run.summary.update(summary | texts)
            if self._samples is not None:
                log_table(self._run, self._samples, paths=self._paths)
            if self.mode == "online" and result.get("status") == "finished":
                self._upload()
        finally:
            self._run.finish(exit_code=_EXIT_CODES.get(result.get("status", "failed"), 1))

    def _upload(self) -> None:
        import wandb

        files = [path for path in self._artifacts if path.is_file()]
        if not files:
            return
        artifact = wandb.Artifact(f"checkpoint-{self.run_id}", type="model")
        for path in files:  # no copies of large files in W&B's cache
            artifact.add_file(os.fspath(path), policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact)

    def state_dict(self) -> dict[str, Any]:
        """Returns the run's id; pass it as `run_id` to continue the run."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Warns if the checkpoint belongs to another W&B run; the id itself is a constructor argument."""
        if state.get("run_id", self.run_id) != self.run_id:
            logger.warning("The checkpoint belongs to W&B run %s, not %s.", state["run_id"], self.run_id)


def resolve_mode(mode: Mode, timeout: float = CHECK_S) -> UsedMode:
    """Resolves the mode: the argument, then `WANDB_MODE`; online only with a key and a responding server."""
    mode = _wanted(mode)
    if mode == "offline" or mode == "disabled":  # noqa: PLR1714 - a set would not narrow the type
        return mode
    if not api_key_configured():
        if mode == "online":
            logger.warning("W&B has no API key (set WANDB_API_KEY or type wandb login); the run stays offline.")
        return "offline"
    if not server_answers(timeout):
        logger.warning("The W&B server does not answer; the run stays offline.")
        return "offline"
    return "online"


def disabled(mode: Mode) -> bool:
    """Returns whether the argument or `WANDB_MODE` disables W&B. Makes no request."""
    return _wanted(mode) == "disabled"


def agent_run_id() -> str | None:
    """Returns the run id that a W&B Sweeps agent assigned to this process; None without an agent."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def _wanted(mode: Mode) -> Mode:
    return _ENVIRONMENT_MODES.get(os.environ.get("WANDB_MODE", "").lower(), mode) if mode == "auto" else mode


def server_answers(timeout: float = CHECK_S) -> bool:
    """Returns whether the W&B server responds within `timeout` seconds, including name resolution."""
    url = _setup().settings.base_url
    response: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=lambda: response.put(_answers(url, timeout)), daemon=True).start()
    try:
        return response.get(timeout=timeout)
    except queue.Empty:
        return False


def _answers(url: str, timeout: float) -> bool:
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(url, timeout=timeout).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def api_key_configured() -> bool:
    """Returns whether W&B finds credentials without a prompt: in the environment, its settings or netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    try:
        from wandb.sdk.lib import wbauth
    except ImportError:  # older W&B: this attribute searches all places, without a prompt
        return bool(wandb.api.api_key)
    settings = _setup().settings
    try:
        return bool(settings.api_key or wbauth.read_netrc_auth(host=settings.base_url))
    except wandb.Error as error:
        logger.warning("W&B's API key in netrc is not valid (%s).", error)
        return False


def end_service() -> None:
    """Kills W&B's service process, which could hang at exit; the next run starts a new one."""
    import wandb

    with suppress(Exception):
        _setup()._connection._proc._process.kill()  # W&B has no public way to do this
    with suppress(Exception, SystemExit):
        wandb.teardown()


def _setup() -> Any:
    """Returns this process's W&B settings, without W&B printing where it found a key."""
    import wandb

    return wandb.setup(settings=wandb.Settings(silent=True))


def _settings(timeout: float, paths: bool) -> Any:
    import wandb

    wanted = {
        "silent": True,
        "console": "off",  # a progress bar makes a useless console log; train.log has the text
        "symlink": False,
        "reinit": "create_new",  # several runs in one process must stay separate
        "init_timeout": timeout,
        "finish_timeout": timeout,
        "x_transaction_log_flush_interval": 0.5,  # rows take another half second to get here
    }
    if not paths:
        wanted |= {
            "host": "HOST",
            "x_disable_meta": True,  # host, user, command line, directories
            "disable_git": True,
            "disable_code": True,
            "save_code": False,
        }
    known = wandb.Settings.model_fields
    return wandb.Settings(**{key: value for key, value in wanted.items() if key in known})
