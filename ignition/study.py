"""The command that answers a question by training: ``python -m ignition.study configs/studies/depth.yaml``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ignition.command_line import BAD_USAGE, FAILED, FINISHED, parse, say

if TYPE_CHECKING:
    from ignition.config import Problem, Section
    from ignition.studies.outcome import Outcome
    from ignition.studies.study import Study

OUTPUT = "runs/studies"


def parser() -> argparse.ArgumentParser:
    """The command line; knows nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m ignition.study",
        description="Train what a study lacks, go on with what was cut off, then compare its variants and say of each "
        "expectation whether it held, failed, or cannot be decided. Ctrl-C at any time: the same command goes on.",
        epilog="docs/study.md says how a study is written and how to read what it finds.",
    )
    parser.add_argument("studies", nargs="+", metavar="STUDY.yaml", help="study files")
    parser.add_argument(
        "--output", metavar="DIR", default=OUTPUT, help=f"runs go to DIR/<study>/<variant>-seed<n> (default: {OUTPUT})"
    )
    parser.add_argument(
        "--jobs", type=_count, metavar="N", help="runs at once (default: as the study says, else by cores)"
    )
    parser.add_argument("--no-run", action="store_true", help="train nothing; compare the runs that are there")
    parser.add_argument("--plan", action="store_true", help="say what would be run, and do nothing")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where an expectation failed")
    parser.add_argument("--report", metavar="FILE.md", help="write a page of all studies, with pictures beside it")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--html", metavar="FILE", help="write the comparison as one page (with one study)")
    return parser


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def main(argv: list[str] | None = None) -> int:
    """Run and compare. Returns the exit code: 0, 1 a run or (``--strict``) an expectation failed, 2 bad usage,
    130 / 143 interrupted and saved."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parse(parser(), words)
    if arguments.html and len(arguments.studies) > 1:
        parser().error("--html is of one study; for several: --report FILE.md")
    from ignition.comparison import ComparisonError, UnknownFigure
    from ignition.config import ConfigError

    try:
        return _study(arguments, words)
    except (ConfigError, ComparisonError, UnknownFigure) as error:
        say(str(error))
        return BAD_USAGE
    except KeyboardInterrupt:  # before anything was started, or after all of it
        say("interrupted")
        return 130
    except OSError as error:
        say(f"{error.filename}: {error.strerror}")
        return FAILED


def _study(arguments: argparse.Namespace, words: list[str]) -> int:
    studies = _read(arguments.studies)
    places = [(study, Path(arguments.output) / study.folder_name) for study in studies]
    if arguments.plan:
        for study, folder in places:
            _print_plan(study, folder)
        return FINISHED
    code = FINISHED
    for study, folder in [] if arguments.no_run else places:
        code = max(code, _run(study, folder, arguments, words))
        if code > BAD_USAGE:  # a signal
            return code
    return max(code, _tell([_outcome(study, folder) for study, folder in places], arguments))


def _read(paths: list[str]) -> list[Study]:
    """All studies, or all that is wrong with all of them."""
    from ignition.config import ConfigError
    from ignition.studies.reading import read_study

    studies: list[Study] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            study = read_study(path)
            study.check(Path(OUTPUT) / study.folder_name)
            studies.append(study)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return studies


def _run(study: Study, folder: Path, arguments: argparse.Namespace, words: list[str]) -> int:
    """Train what is missing. Returns 0, 1 where runs failed, or 128 + the signal that ended it."""
    from rich.console import Console

    from ignition.studies.outcome import check_metrics
    from ignition.studies.progress import StudyProgress
    from ignition.studies.reading import read_study
    from ignition.studies.runner import Runner
    from ignition.studies.schedule import ENDED, check_runs, jobs

    if all(job.state in ENDED for job in jobs(study, folder)):
        check_runs(study, folder)
        return FINISHED
    settings = _recipe_settings(study)
    study = read_study(study.path, settings)
    study.check(folder, settings)
    check_runs(study, folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with StudyProgress(study.name, Console(stderr=True)) as progress:
        runner = Runner(study, folder, watcher=progress, recipe_settings=settings, at_once=arguments.jobs,
                        check=lambda job: check_metrics(study, job.folder))  # fmt: skip
        before = {number: signal.signal(number, lambda got, frame: runner.stop(got))
                  for number in (signal.SIGINT, signal.SIGTERM)}  # fmt: skip
        try:
            failures = runner.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    for failure in failures:
        say(f"{failure.job.name} failed with exit code {failure.code}: {failure.said} "
            f"(all of it: {folder / failure.job.name}.log)")  # fmt: skip
    if runner.stopped_by is not None:
        say(f"interrupted, everything saved; go on by: python -m ignition.study {shlex.join(words)}")
        return 128 + runner.stopped_by
    return FAILED if failures else FINISHED


def _recipe_settings(study: Study) -> type[Section]:
    """The recipe's settings; loads the recipe, and torch with it."""
    from ignition.comparison import ComparisonError
    from ignition.recipe import RecipeError, load_recipe

    try:
        return load_recipe(study.recipe).Settings
    except RecipeError as error:
        raise ComparisonError(str(error)) from error


def _outcome(study: Study, folder: Path) -> Outcome:
    from ignition.studies.outcome import Outcome
    from ignition.studies.schedule import check_runs

    check_runs(study, folder)
    return Outcome(study, folder)


def _tell(outcomes: list[Outcome], arguments: argparse.Namespace) -> int:
    """Print or write what came out. Returns 1 where ``--strict`` finds an expectation that failed."""
    from ignition.studies.verdict import FAILED as EXPECTATION_FAILED

    if arguments.report:
        from ignition.studies.report import write_report

        names = " ".join(arguments.studies)
        how = f"python -m ignition.study {names} --report {arguments.report}"
        for path in write_report(outcomes, Path(arguments.report), how):
            say(f"written: {path}")
    if arguments.html:
        from ignition.comparison.page import page

        Path(arguments.html).write_text(page(outcomes[0].comparison), encoding="utf-8")
        say(f"written: {arguments.html}")
    if arguments.json:
        from ignition.rundir.rows import to_json

        values = [outcome.to_dict() for outcome in outcomes]
        sys.stdout.write(to_json(values[0] if len(values) == 1 else {"studies": values}).decode())
    elif not (arguments.report or arguments.html):
        for outcome in outcomes:
            _print(outcome)
    failed = [verdict for outcome in outcomes for verdict in outcome.verdicts if verdict.word == EXPECTATION_FAILED]
    return FAILED if arguments.strict and failed else FINISHED


def _print(outcome: Outcome) -> None:
    from rich.console import Console

    from ignition import curve
    from ignition.comparison.table import report
    from ignition.studies.report import counts, verdict_table

    console = Console()
    console.print(f"{outcome.study.name}: {outcome.study.file.question}", highlight=False)
    if outcome.missing:
        console.print(f"not whole, missing: {', '.join(job.name for job in outcome.missing)}", highlight=False)
    console.print(report(outcome.comparison, plain=not curve.fits(console.encoding)))
    if outcome.verdicts:
        console.print(verdict_table(outcome))
        console.print(counts(outcome.verdicts), highlight=False)


def _print_plan(study: Study, folder: Path) -> None:
    from rich.console import Console

    from ignition.studies.schedule import jobs

    console = Console()
    for job in jobs(study, folder):
        console.print(f"{job.folder}: {job.state}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
