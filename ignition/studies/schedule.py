"""Which runs of a study are there, which have to go on, and which are missing: read off the run folders alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ignition.comparison.config_difference import ABSENT, differences
from ignition.comparison.run_summary import ComparisonError
from ignition.config import Config, Section
from ignition.config.reading import read_file
from ignition.rundir import RunFolder
from ignition.studies.study import Study, run_folder

ENDED = ("finished", "stopped", "diverged")  # a divergence is a result, too


@dataclass(frozen=True)
class Job:
    """A run that a study asks for."""

    variant: str
    seed: int
    folder: Path
    prepares: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.folder.name

    @property
    def state(self) -> str:
        """``missing``, ``busy`` (somebody is at work on it), ``broken off`` (it can go on), or how it ended."""
        if not RunFolder.is_run(self.folder):
            return "missing"
        run = RunFolder(self.folder)
        if run.owner() is not None:
            return "busy"
        status = run.read_status().get("status")
        return status if status in ENDED else "broken off"

    @property
    def iteration(self) -> int:
        """How far it has come, by its log."""
        last = RunFolder(self.folder).metrics.tail(1)
        return int(last[0].get("iteration", 0)) if last else 0

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1, by epochs."""
        if self.state in ENDED:
            return 1.0
        status = RunFolder(self.folder).read_status()
        return min(status.get("epoch", 0) / max(status.get("epochs", 1), 1), 1.0)


def jobs(study: Study, folder: Path) -> list[Job]:
    """Every run of the study: what is prepared, then seed by seed, so that an early look has all variants."""
    prepared = [Job(name, study.seeds(name)[0], run_folder(folder, name, study.seeds(name)[0]), prepares=True)
                for name in study.file.prepare]  # fmt: skip
    return prepared + [
        Job(name, seed, run_folder(folder, name, seed)) for seed in study.file.seeds for name in study.variants
    ]


def check_runs(study: Study, folder: Path, recipe_settings: type[Section] | None = None) -> None:
    """Look whether the runs that are there were made with the settings that the study asks for.

    Raises:
        ComparisonError: those that were not, each with what differs and what to do.
    """
    found = []
    prepared = {str(job.folder) for job in jobs(study, folder) if job.prepares}
    for job in jobs(study, folder):
        if job.state == "missing":
            continue
        asked = study.config(job.variant, job.seed, folder, recipe_settings)
        other = made_otherwise(asked, job, prepared, known=recipe_settings is not None)
        if other:
            why = "; ".join(other)
            found.append(f"{job.folder} was made with other settings ({why}): remove it, or choose another --output")
    if found:
        raise ComparisonError("\n".join(found))


def made_otherwise(asked: Config, job: Job, prepared: set[str], *, known: bool) -> list[str]:
    """The settings in which a run differs from what is asked, as ``key: has, asked``.

    Args:
        prepared: the folders of what the study prepares.
        known: whether ``asked`` has the defaults of the recipe's section; else only what it names is looked at.
    """
    document = read_file(RunFolder(job.folder).config_path)
    has = document.root.plain() if document.whole else {}
    told = []
    for setting in differences([has, asked.to_dict()]):
        there, wanted = setting.values
        if wanted == ABSENT and setting.key.partition(".")[0] == "recipe" and not known:
            continue
        if {str(there), str(wanted)} & prepared and Path(str(there)).name == Path(str(wanted)).name:
            continue  # one run folder, written in two ways
        told.append(f"{setting.key}: {there}, asked {wanted}")
    if has.get("trainer", {}).get("seed") != job.seed:
        told.append(f"trainer.seed: {has.get('trainer', {}).get('seed')}, asked {job.seed}")
    return told
