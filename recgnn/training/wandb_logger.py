"""W&B without an account: runs are kept on disk unless a key says where to send them."""

from __future__ import annotations

import io
import os
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from matplotlib.figure import Figure

from recgnn.errors import ConfigError, RunError
from recgnn.evaluation.figures import DPI
from recgnn.files import atomic_path

PROJECT = "recgnn"
RUN_ID = Path("wandb") / "run_id"  # file of a run folder: which W&B run it is
MODES = ("online", "offline", "disabled")
STEP = "trainer/global_step"  # Lightning's x-axis


class WandbLogger(LightningWandbLogger):
    """Lightning's W&B logger; it never asks for a key, and says nothing while it is offline.

    Args:
        project: the W&B project; WANDB_PROJECT, or else recgnn, when None.
        name: the run's name.
        group: joins runs, such as the seeds of one setting.
        job_type: what kind of run of its group it is.
        tags: labels to filter runs by.
        save_dir: folder of the files (`<save_dir>/wandb`); the working folder when None.
        mode: `auto` follows WANDB_MODE or W&B's settings file; without those it is online if an API key is configured
            (WANDB_API_KEY, `wandb login`), else offline. Neither a person nor a server is asked to find out.
        id: the run to continue.

    Raises:
        ConfigError: If the mode is unknown, it is online without a key, or wandb is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        save_dir: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        id: str | None = None,
    ) -> None:
        try:
            self.mode = resolve_mode(mode)
            quiet = self.mode != "online"
            super().__init__(
                project=project or os.environ.get("WANDB_PROJECT") or PROJECT,
                name=name,
                save_dir=save_dir,  # type: ignore[arg-type]  # None is W&B's own folder
                id=id,
                group=group,
                job_type=job_type,
                tags=tags,
                mode=self.mode,  # not `offline=True`, which sets WANDB_MODE for the whole process
                reinit="create_new",  # the next run of this process is another run
                settings={"silent": True, "console": "off"} if quiet else {},
            )
        except ModuleNotFoundError as error:
            raise ConfigError(
                "logger: W&B is not installed; pip install wandb, or choose another logger"
            ) from error
        self._wandb_init.pop("anonymous", None)  # W&B warns of it
        self._run_folder: Path | None = None
        self._run_dir: str | None = None

    def belong_to(self, folder: Path, name: str, group: str, job_type: str, tags: list[str], resume: bool) -> None:
        """Take name, labels and the place of files from a run folder, as far as they were not given.

        Args:
            folder: the run folder.
            name: the run's name.
            group: the group it belongs to.
            job_type: its kind within the group.
            tags: its labels.
            resume: continue the W&B run of the folder.
        """
        of_folder = {"dir": str(folder), "name": name, "group": group, "job_type": job_type, "tags": tags}
        if resume and (folder / RUN_ID).is_file():
            of_folder["id"] = (folder / RUN_ID).read_text(encoding="utf-8").strip()
        for key, value in of_folder.items():
            if self._wandb_init.get(key) is None:
                self._wandb_init[key] = value
        self._save_dir, self._name, self._id = (self._wandb_init[key] for key in ("dir", "name", "id"))
        self._run_folder = folder

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started on first use; a stand-in that does nothing if disabled.

        Raises:
            RunError: If its folder cannot be made.
        """
        if self.mode == "disabled":
            return _Nothing()
        if self._experiment is None:
            if self._save_dir is not None:
                try:
                    Path(self._save_dir).mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise RunError(f"{self._save_dir}: cannot be made: {error.strerror}") from error
                self._wandb_init["dir"] = os.path.abspath(self._save_dir)  # W&B's process may be in another folder
            run = super().experiment
            self._run_dir = run.settings.sync_dir
            if self._run_folder is not None:
                with atomic_path(self._run_folder / RUN_ID) as path:
                    path.write_text(f"{run.id}\n", encoding="utf-8")
        return self._experiment

    @property
    def sync_command(self) -> str | None:
        """The command that sends an offline run to W&B; None if there is nothing to send."""
        if self.mode != "offline" or self._run_dir is None:
            return None
        here = Path(self._run_dir)
        parts = sorted(here.parent.glob(f"offline-run-*-{self.version}")) or [here]  # those of a continued run
        parts = [part.relative_to(Path.cwd()) if part.is_relative_to(Path.cwd()) else part for part in parts]
        return f"wandb sync {' '.join(shlex.quote(str(part)) for part in parts)}"

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the configuration; names that begin with an underscore are Lightning's own."""
        params = vars(params) if isinstance(params, Namespace) else params
        super().log_hyperparams({name: value for name, value in params.items() if not str(name).startswith("_")})

    @rank_zero_only
    def define_metrics(self, names: Mapping[str, Literal["max", "min"]]) -> None:
        """Have the run's summary keep the best value of each metric instead of the last."""
        for name, goal in names.items():
            self.experiment.define_metric(name, summary=goal, step_metric=STEP, step_sync=True)

    @rank_zero_only
    def log_figure(self, key: str, figure: Figure | Path, step: int | None = None) -> None:
        """Log a figure, or a picture's file, as an image."""
        if self.mode != "disabled":
            from PIL import Image

            file = io.BytesIO()
            if isinstance(figure, Figure):
                figure.savefig(file, dpi=DPI, format="png", facecolor="white")
            self.log_image(key, [Image.open(file if isinstance(figure, Figure) else figure)], step)

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: list[str] | pd.DataFrame | None = None,
        data: list[list[Any]] | None = None,
        dataframe: pd.DataFrame | None = None,
        step: int | None = None,
    ) -> None:
        """Log a table, as Lightning's logger; a frame may also stand right after the key."""
        if isinstance(columns, pd.DataFrame):
            columns, dataframe = None, columns
        if self.mode != "disabled":
            super().log_table(key, columns, data, dataframe, step)

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float]) -> None:
        """Log values of the whole run, for the table of runs."""
        if self.mode != "disabled":
            self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_checkpoint(
        self, name: str, folder: Path, files: Iterable[Path], aliases: list[str], metadata: dict[str, Any]
    ) -> None:
        """Log files of a run folder as a version of an artifact; downloaded, it is a run folder again.

        Args:
            name: the artifact is called <name>-<run id>.
            folder: the run folder.
            files: the files, relative to it.
            aliases: names of this version, such as best.
            metadata: its facts, such as the epoch and metrics.
        """
        if self.mode == "disabled":
            return
        import wandb

        name = re.sub(r"[^\w.-]", "-", f"{name}-{self.experiment.id}")
        artifact = wandb.Artifact(name, "model", metadata=metadata)
        for file in files:
            artifact.add_file(str(folder / file), name=file.as_posix())
        self.experiment.log_artifact(artifact, aliases=aliases)

    @rank_zero_only
    def finish(self) -> None:
        """End the run, as W&B does by itself at the end of the process."""
        if self._experiment is not None:
            self._id = self._wandb_init["id"] = self._experiment.id
            self._experiment.finish()
            self._experiment = None


def resolve_mode(mode: str) -> str:
    """Return the mode that `mode` means here and now: online, offline or disabled.

    Raises:
        ConfigError: If the mode is unknown, or it is online and no key is configured.
    """
    where, wanted = "logger mode", mode
    if mode == "auto":
        where, wanted = "WANDB_MODE", os.environ.get("WANDB_MODE") or "auto"
    if wanted == "auto" and "mode" in _settings().model_fields_set:  # in a settings file, as `wandb offline` writes it
        where, wanted = "W&B's settings file", _settings().mode
    wanted = {"dryrun": "offline", "run": "online"}.get(wanted, wanted)  # W&B's old names
    if wanted == "auto":
        return "online" if has_key() else "offline"
    if wanted not in MODES:
        raise ConfigError(f"{where}: found {wanted!r}, expected one of {', '.join(MODES)}")
    if wanted == "online" and not has_key():
        raise ConfigError(
            f"{where}: online needs a W&B account, and no API key is configured; "
            "run `wandb login`, set WANDB_API_KEY, or use mode offline"
        )
    return wanted


def has_key() -> bool:
    """Whether W&B has credentials, as it looks for them itself; asks neither a person nor a server.

    Raises:
        ConfigError: If what is configured cannot be a key.
    """
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        found = wbauth.authenticate_session(
            host=_settings().base_url, source="recgnn", prompt=False, update_session=False
        )
    except wandb.errors.AuthenticationError as error:
        raise ConfigError(f"W&B: {' '.join(str(error).split())}") from error
    return found is not None


def _settings() -> Any:
    """W&B's settings of this process: files, then environment; starts nothing.

    Raises:
        ConfigError: If one has a value that W&B does not know.
    """
    from wandb.sdk import wandb_setup

    if os.environ.get("WANDB_MODE") in ("", "auto"):  # which mean what none means, and W&B refuses
        del os.environ["WANDB_MODE"]
    try:
        return wandb_setup.singleton().settings
    except ValueError as error:
        raise ConfigError(f"W&B's settings (WANDB_… or its settings file): {' '.join(str(error).split())}") from error


class _Nothing:
    """A stand-in that takes any call, attribute or item, and does nothing."""

    def __getattr__(self, name: str) -> _Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> _Nothing:
        return self

    def __getitem__(self, key: Any) -> _Nothing:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass
