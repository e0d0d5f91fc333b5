"""The keys of a study's file: their types, limits, defaults and meaning."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ignition.config import Section, Whole

NAME = r"^[A-Za-z0-9_.-]+$"


class Variant(Section):
    """What is trained with every seed: a config, and settings over it."""

    config: str | None = Field(default=None, description="a config, relative to the study's file; null: the study's")
    plus: str | None = Field(default=None, description="another variant whose config and settings this one begins with")
    settings: Annotated[dict[str, Any], Whole()] = Field(default_factory=dict, description="laid over the config")
    what: str = Field(default="", description="what it is, in a few words")
    said: Annotated[dict[str, str], Whole()] = Field(
        default_factory=dict, description="what a document says of it, by figure, to stand beside what is found"
    )


class StudyFile(Section):
    """The keys of a study's file."""

    question: str = Field(min_length=1, description="what is asked, in words")
    recipe: str = Field(min_length=1, description="the recipe's file, relative to the study's")
    config: str | None = Field(default=None, description="the variants' config, where they name none")
    settings: Annotated[dict[str, Any], Whole()] = Field(
        default_factory=dict, description="laid over every variant's config, and under its own settings"
    )
    seeds: list[int] = Field(min_length=1, description="each variant is trained with each of them")
    prepare: Annotated[dict[str, Variant], Whole()] = Field(
        default_factory=dict,
        description="trained once, with the first seed, before the others, in whose settings `{name}` is its folder",
    )
    variants: Annotated[dict[str, Variant], Whole()] = Field(description="what is compared, by name")
    reference: str | None = Field(default=None, description="what the others are held against; null: the first variant")
    subject: str | None = Field(default=None, description="what is expected of; null: the last variant")
    expect: list[dict[str, str]] = Field(
        default_factory=list,
        description="`figure: expectation` each, with `of` (a variant; the subject), `said` (whose words it is made "
        "from) and `scaled` (how, where the numbers are others)",
    )
    figures: list[str] = Field(default_factory=list, description="figures to show and test besides the usual ones")
    runs: str | None = Field(default=None, pattern=NAME, description="folder of the runs; null: the study's name")
    jobs: int | None = Field(default=None, ge=1, description="runs at once; null: cores / threads")
    threads: int = Field(default=1, ge=1, description="CPU threads of a run")
    command: str | None = Field(
        default=None,
        description="how a run is started: `{python}`, `{command}` (all words), `{line}` (all words as one, quoted), "
        "`{arguments}` (what follows `python -m ignition.run`); null: `{command}`",
    )
    note: str = Field(default="", description="what has to be known to read the results")
