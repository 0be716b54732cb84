"""distilfleet from Python, as in a notebook: train, look at the numbers, draw them, use the models.

The flags of a recipe are keywords here, with `_` for `-`: `distilfleet run koala --help` lists them
with their units. What a call gives is read from the run's directory, so a run of yesterday or of
the command line is the same to `open_run`.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from .core.errors import ConfigError, did_you_mean
from .record.history import History, read

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from .deploy.model import DeployedModel
    from .recipes.simulated import SimulatedRun
    from .record.checkpoint import Checkpoint
    from .record.run import RunRecord

PAGE = "report.html"


@dataclass(frozen=True, slots=True)
class Rounds(Sequence[Mapping[str, Any]]):
    """The rounds of a run, each a mapping from the name of a figure, with its unit last, to its
    value.

    Accuracies are shares, losses nats per token; `up_bytes` and `down_bytes` are those of the whole
    fleet in that round, `device_energy_j` and `server_energy_j` its joules, `elapsed_s` the fleet's
    time since the start and `wall_s` that of the computer. What does not apply is not there.
    """

    rows: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> "Rounds": ...
    def __getitem__(self, place: int | slice) -> "Mapping[str, Any] | Rounds":
        return Rounds(self.rows[place]) if isinstance(place, slice) else self.rows[place]

    def to_pandas(self) -> "pd.DataFrame":
        """A table with a row for each round, by its number; a list, such as the missed jobs, stays
        one."""
        with _needed("a table of pandas"):
            import pandas as pd

        return pd.DataFrame.from_records(list(self.rows)).set_index("round")

    def to_arrow(self) -> "pa.Table":
        """The figures alone as an Arrow table with a row for each round."""
        with _needed("a table of Arrow"):
            import pyarrow as pa

        figures = [{name: one for name, one in row.items() if _is_figure(one)} for row in self.rows]
        names = dict.fromkeys(name for row in figures for name in row)
        return pa.table({name: [row.get(name) for row in figures] for name in names})


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class LoadedModels(Mapping[str, "DeployedModel"]):
    """The models of a run by name; each is loaded when it is asked for."""

    folder: Path

    def __iter__(self) -> Iterator[str]:
        from .deploy.facts import names_in

        return iter(names_in(self.folder))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> "DeployedModel":
        if name not in list(self):
            raise KeyError(name)
        return load(self.folder / name)


def load(folder: str | Path, *, own_models: bool = False) -> "DeployedModel":
    """A trained model, ready to predict: `model.predict(samples)` gives probabilities of
    `model.classes`.

    Args: folder: one of `models/` of a finished run, or of a device. own_models: whether a net of
        the user's own may be built, which runs the file or module that the folder names.

    Raises ConfigError for a folder that is absent, damaged, or of a newer version.
    """
    from .deploy.model import load as loaded

    return loaded(folder, own_models=own_models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, by its directory."""

    path: Path
    """The directory of its record."""
    record: History
    """All that is recorded of it: settings, fleet, rounds."""

    @property
    def history(self) -> Rounds:
        """Its finished rounds."""
        return Rounds(self.record.rounds)

    @property
    def models(self) -> "LoadedModels":
        """The models that the server had at the end, by name:
        `run.models["large"].predict(samples)`."""
        return LoadedModels(self.path / "models")

    def report(self) -> Path:
        """Write the page that shows the run, one file without links to others, and say where it
        is."""
        from .report.page import write_page

        page = self.path / PAGE
        write_page([self.record], page)
        return page

    def plot(self) -> "Figure":
        """Quality by round and by data sent, in the page's colours."""
        return plot(self)

    def _repr_html_(self) -> str:
        """What a notebook shows of a run: its final figures."""
        from .report.notebook import final_table

        return final_table([self.record])


def train(
    recipe: str, *, out: str | Path | None = None, progress: bool = True, **flags: Any
) -> Run:
    """Train on a simulated fleet, to the end, and record it.

    Args:
        recipe: a shipped one, such as `koala`, or `path/to/file.py:function`.
        out: the directory of the record, which must not hold anything yet. Default:
            runs/RECIPE-TIME.
        progress: show a bar with the quality of the last round.
        flags: those of the recipe, with `_` for `-`; a flag of several values takes a list.

    Raises:
        ConfigError: for a flag or data that cannot be used, and names the remedy.
        StarvedError: if no device answered in any round.

    If this is interrupted, `resume` goes on with it from its last checkpoint.
    """
    from .recipes import simulate
    from .recipes.find import recipe as found

    started = datetime.now(UTC)
    kind = found(recipe)
    place = Path(out) if out is not None else simulate.default_place(recipe, started)
    begun = simulate.begin(kind, _flags(kind.flags, flags), place, started)
    return _to_the_end(begun.run, begun.record, None, progress=progress)


def resume(path: str | Path, *, rounds: int | None = None, progress: bool = True) -> Run:
    """Go on with an interrupted run, or add rounds to a finished one, and give the whole.

    Args:
        path: the directory of its record.
        rounds: how many rounds there shall be in all, if more than were asked for.
        progress: show a bar with the quality of the last round.

    Raises RecordError if the directory is damaged, in use or of another version.
    """
    from .recipes.resume import again

    resumed = again(Path(path), rounds)
    if resumed is None:
        return open_run(path)
    return _to_the_end(resumed.run, resumed.record, resumed.start, progress=progress)


def open_run(path: str | Path) -> Run:
    """A run that is recorded already. Raises RecordError if the directory holds none of this
    version."""
    return Run(path=Path(path), record=read(Path(path)))


def plot(*runs: Run) -> "Figure":
    """Quality by round and by data sent, of one run or several, as a figure of matplotlib."""
    from .report.notebook import figure

    with _needed("drawing"):
        return figure([run.record for run in runs])


@contextmanager
def _needed(what: str) -> Iterator[None]:
    """Raises ConfigError with the remedy where a package is missing."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise ConfigError(f"{what} needs {missing.name}: pip install {missing.name}") from missing


def _flags(kind: Any, given: Mapping[str, Any]) -> Any:
    """The recipe's flags with these values. Raises ConfigError for one that it does not have."""
    import msgspec

    from .recipes.flags import names_of, unflatten

    known = names_of(kind)
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"the recipe has no flag {unknown}{did_you_mean(unknown, sorted(known))}; it has "
            f"{', '.join(sorted(known))}"
        )
    return unflatten(kind, msgspec.to_builtins(dict(given), enc_hook=str))


def _to_the_end(
    run: "SimulatedRun", record: "RunRecord", start: "Checkpoint | None", *, progress: bool
) -> Run:
    from .training.loop import train as steps_of

    total = run.experiment.rounds
    done = 0 if start is None else start.round
    with closing(record):
        steps = steps_of(run.experiment, run.fleet, record, start, time.monotonic)
        for _ in _shown(steps, total, done) if progress else steps:
            pass
    finished = open_run(record.path)
    finished.report()
    return finished


def _shown(
    steps: Iterable[Mapping[str, Any]], total: int, done: int
) -> Iterator[Mapping[str, Any]]:
    """The rounds as they come, under a bar that works in a terminal and in a notebook."""
    from tqdm.auto import tqdm

    from .report.notebook import standing

    with tqdm(total=total, initial=done, unit="round") as bar:
        for metrics in steps:
            bar.set_postfix_str(standing(metrics))
            bar.update()
            yield metrics
