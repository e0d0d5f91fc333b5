"""The files of a run's checkpoints: which are written, which stay, and what is there when a run goes on."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from pathlib import Path

from ignition.checkpoint_file.best import NEXT, Better, Scored, arrange, best_names, ranked
from ignition.checkpoint_file.content import NotFinite, Payload, check_finite
from ignition.checkpoint_file.file import BadCheckpoint, check, link, load, peek, save
from ignition.checkpoint_file.folder import (
    BEST,
    LAST,
    is_same,
    name_of,
    newest_good,
    numbered,
    prune,
    remove,
    set_aside,
)
from ignition.checkpoint_file.weights import is_of, save_weights

log = logging.getLogger(__name__)

LAST_WEIGHTS, BEST_WEIGHTS = "last.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Written:
    """What came of writing a checkpoint.

    Attributes:
        path: the file of the iteration; None if it was not written.
        ranking: the best ones that are there now.
        problem: what went wrong, in words; empty if nothing did.
        is_failure: it was the disk's fault, not that of the weights.
    """

    path: Path | None
    ranking: list[Scored]
    problem: str = ""
    is_failure: bool = False


@dataclass(frozen=True)
class Found:
    """The checkpoint to go on from, and the best ones that are there."""

    path: Path
    payload: Payload
    ranking: list[Scored]


@dataclass(frozen=True)
class KeptFiles:
    """A folder with the newest ``keep`` checkpoints of a run, and the ``keep_best`` best of all that it ever had.

    For one process, and for one thread at a time.

    Attributes:
        better: whether the first score is better than the second; any finite one is better than None.
        modules: names under which nothing may be NaN or infinite.
        weights: names under which weights are also written as ``last.safetensors`` and ``best.safetensors``.
    """

    folder: Path
    keep: int
    keep_best: int
    metric: str | None
    mode: str
    better: Better
    modules: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    def is_among_best(self, score: float, iteration: int, ranking: list[Scored]) -> bool:
        """Whether a checkpoint with this score would be one of the best."""
        new = Scored(score, iteration, "")
        return new in ranked([*ranking, new], self.better, self.keep_best)

    # ------------------------------------------------------------------------------------------------------ writing

    def write(self, payload: Payload, ranking: list[Scored], *, measured_only: bool = False) -> Written:
        """Write the files of an iteration, in the order in which a kill in between does no harm.

        Args:
            ranking: the best ones until now.
            measured_only: it is no state to go on from, so it only takes its place among the best.
        """
        path = None
        try:
            check_finite(payload, self.modules)
            self.folder.mkdir(parents=True, exist_ok=True)
            if measured_only:
                save(self.folder / NEXT, payload)
            else:
                new = self.folder / name_of(payload["iteration"])
                save(new, payload)
                path = new
                link(path, LAST)
            ranking = self._place(payload, path.name if path else NEXT, ranking)
            if path:
                prune(self.folder, payload["iteration"], self.keep)
            self._write_weights(payload, ranking, path)
        except NotFinite as error:
            return Written(path, ranking, f"it {error}")
        except OSError as error:
            remove(self.folder / NEXT)
            return Written(path, ranking, str(error) if error.filename else error.strerror or str(error), True)
        return Written(path, ranking)

    def _place(self, payload: Payload, name: str, ranking: list[Scored]) -> list[Scored]:
        """Give the new one its place, if it has one; the others move on, and what is one too many goes."""
        if not all(one.is_there(self.folder) for one in ranking):
            ranking = self._reread()
        ranking = ranked([*ranking, *self._scored({name: payload})], self.better, self.keep_best)
        if any(one.name == name for one in ranking):
            ranking = arrange(self.folder, ranking)
            remove(*(self.folder / name for name in best_names(self.folder)[len(ranking) :]))
        return ranking

    def _reread(self) -> list[Scored]:
        """The best ones, where the last attempt ended half way or somebody else was at work.

        Raises:
            OSError: they cannot be compared now, and a better one must not make way for a worse one.
        """
        heads = self._heads(best_names(self.folder))
        unknown = [name for name in best_names(self.folder) if name not in heads]
        if unknown:
            raise OSError(errno.EIO, f"{', '.join(unknown)} cannot be read")
        return ranked(self._scored(heads), self.better, self.keep_best)

    def _write_weights(self, payload: Payload, ranking: list[Scored], path: Path | None) -> None:
        if not self.weights:
            return
        is_best = bool(ranking) and (ranking[0].iteration, ranking[0].score) == (payload["iteration"], payload["score"])
        if path:
            save_weights(self.folder / LAST_WEIGHTS, payload, self.weights)
            if is_best:
                link(self.folder / LAST_WEIGHTS, BEST_WEIGHTS)
        elif is_best:
            save_weights(self.folder / BEST_WEIGHTS, payload, self.weights)

    # ------------------------------------------------------------------------------------------------------ finding

    def find(self) -> Found | None:
        """The newest good checkpoint, and the best ones; what a kill came before is made good.

        Raises:
            BadCheckpoint: there are some, and none can be used.
        """
        found = newest_good(self.folder, spare=(LAST, *best_names(self.folder)))
        if found is None:
            return None
        path, payload, _ = found
        try:
            if not is_same(self.folder / LAST, path):
                link(path, LAST)
        except OSError as error:  # in a folder that can only be read, it has to do without
            log.warning("%s does not name %s: %s", self.folder / LAST, path.name, error.strerror)
        return Found(path, payload, self._find_best(path, payload))

    def renew_weights(self, found: Found) -> None:
        """Let the files of weights be those of the checkpoints again, where a kill came in between or they are new."""
        names = (LAST_WEIGHTS, BEST_WEIGHTS)
        if not self.weights:
            stale = [name for name in names if (self.folder / name).exists()]
            if stale:
                log.warning("%s will not be kept up to date: safetensors is off", " and ".join(stale))
            return
        last, best = (self.folder / name for name in names)
        try:
            if not is_of(last, found.payload, self.weights):
                save_weights(last, found.payload, self.weights)
            if found.ranking and not is_of(best, peek(self.folder / found.ranking[0].name), self.weights):
                save_weights(best, load(self.folder / found.ranking[0].name), self.weights)
        except (OSError, BadCheckpoint) as error:
            log.warning("the weights are not those of the checkpoints: %s", error)

    def _find_best(self, path: Path, payload: Payload) -> list[Scored]:
        """The best ones by what the files themselves say, each whole and under its name."""
        names = best_names(self.folder)
        heads = self._heads([*names, NEXT, path.name], path, payload)
        if self.metric is not None and BEST in heads and self._score_of(heads[BEST]) is None:
            chosen = f"by {heads[BEST].get('metric')} ({heads[BEST].get('mode')})"
            log.warning("%s was chosen %s, from here on by %s (%s)", self.folder / BEST, chosen, self.metric, self.mode)
        ranking = self._whole(heads, path)
        if len(ranking) < self.keep_best or not set(names) <= set(heads):  # or one was set aside
            heads |= self._heads([file.name for file in numbered(self.folder)], path, payload)
            ranking = self._whole(heads, path)
        try:
            ranking = arrange(self.folder, ranking)
            self._clear_away(ranking, heads)
        except OSError as error:
            log.warning("%s: the best ones have not all their names: %s", self.folder, error.strerror)
        return ranking

    def _whole(self, heads: dict[str, Payload], path: Path) -> list[Scored]:
        """The best of these. A damaged one is set aside and taken out."""
        while True:
            ranking = ranked(self._scored(heads), self.better, self.keep_best)
            for one in ranking:
                try:
                    if not is_same(self.folder / one.name, path):
                        check(self.folder / one.name)
                except BadCheckpoint as error:
                    set_aside(error, "the best of the others takes its place")
                    del heads[one.name]
                    break
            else:
                return ranking

    def _clear_away(self, ranking: list[Scored], heads: dict[str, Payload]) -> None:
        """Remove second names of the best, as a kill leaves them; tell which further ones have no place any more."""
        remove(self.folder / NEXT)
        known = {one.iteration for one in ranking}
        further = best_names(self.folder)[len(ranking) :] if ranking else []
        remove(*(self.folder / name for name in further if heads.get(name, {}).get("iteration") in known))
        outside = [name for name in further if (self.folder / name).exists()]
        if outside:
            log.warning("keep_best is %d: with the next best one goes %s", self.keep_best, ", ".join(outside))

    def _heads(self, names: list[str], path: Path | None = None, payload: Payload | None = None) -> dict[str, Payload]:
        """What the files of these names say of themselves; that at ``path`` is known to say this."""
        heads: dict[str, Payload] = {}
        for file in (self.folder / name for name in names):
            if not file.exists():
                continue
            known = next((heads[name] for name in heads if is_same(self.folder / name, file)), None)
            if known is None and path and is_same(file, path):
                known = payload
            try:
                heads[file.name] = known or peek(file)
            except BadCheckpoint as error:
                set_aside(error, "it could not be compared with the best")
        return heads

    def _scored(self, heads: dict[str, Payload]) -> list[Scored]:
        scores = {name: self._score_of(head) for name, head in heads.items()}
        return [Scored(score, heads[name]["iteration"], name) for name, score in scores.items() if score is not None]

    def _score_of(self, head: Payload) -> float | None:
        """The score in a checkpoint, if it is of our metric."""
        ours = head.get("metric") == self.metric and head.get("mode") == self.mode
        return head.get("score") if ours and isinstance(head.get("iteration"), int) else None
