"""What a terminal shows while a run goes on, and at its end. Plain lines where nobody watches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..core.plain import plain
from ..core.units import pretty_bytes, pretty_j, pretty_s
from ..record.history import History
from .table import text_table

LAST = 12
"""How many rounds the live table has."""
COLUMNS = ("round", "large", "small", "up", "down", "energy", "clock", "answered", "tokens/s")
UNSPENT = ("-",) * len(COLUMNS[3:])
"""Cells of round 0, in which nothing travels."""


def opening(about: Mapping[str, Any], facts: Mapping[str, Any], path: Path) -> None:
    """What is about to run, and what it discloses."""
    console = _console()
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["kinds"].items())
    where = plain(f" on {about['data']['name']}: {facts['total']} devices ({kinds})")
    console.print(Text.assemble((plain(about["recipe"]), "bold"), where))
    for line in _setup(about, facts, path):
        console.print(plain(f"  {line}"))


def _console() -> Console:
    """Names are shown as they are: brackets and colons in them are no markup."""
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def _setup(about: Mapping[str, Any], facts: Mapping[str, Any], path: Path) -> Iterator[str]:
    models = about["models"]
    large = f"large {models['large']}; " if "large" in models else ""
    yield f"data       {_data(about['data'])}"
    yield f"models     {large}small {', '.join(models['small']) or 'none'}"
    yield from (f"memory     {line}" for line in _memory(about, facts))
    yield f"disclosure {about['disclosure']}"
    yield from (f"note       {note}" for note in about.get("notes", ()))
    yield f"record     {path}"


def _data(data: Mapping[str, Any]) -> str:
    """Who has what: the devices, the test, the server."""
    parts = (
        f"{data['train']} private {_samples(data)}, {data['partition']}; {data['test']} for testing"
    )
    if "proxy" in data:
        parts += f", {data['proxy']} unlabelled proxy samples"
    if "pretraining" in data:
        parts += f"; {data['pretraining']} of the server, to train the teacher"
    return parts


def _samples(data: Mapping[str, Any]) -> str:
    """What they are called: text without labels comes in windows."""
    if "tokenizer" not in data:
        return "samples"
    return "texts" if data.get("classes") else f"windows of {data['shape'][0]} tokens"


def show(
    total: int, first: int, steps: Iterable[Mapping[str, Any]], stop: Callable[[], bool]
) -> None:
    """Take the rounds as they come until they end or `stop` says so."""
    console = _console()
    if console.is_terminal:
        _live(console, total, first, _paced(steps), stop)
        return
    for metrics in _paced(steps):
        console.print(_line(metrics, total))
        if stop():
            return


def _paced(steps: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """With tokens per second of wall time, from the second round that is seen on."""
    before_s: float | None = None
    for metrics in steps:
        wall_s = metrics.get("wall_s")
        took_s = 0.0 if wall_s is None or before_s is None else wall_s - before_s
        before_s = wall_s
        if took_s > 0 and "tokens" in metrics:
            yield {**metrics, "tokens_per_s": metrics["tokens"] / took_s}
        else:
            yield metrics


def closing(history: History, page: Path) -> None:
    """Savings, the final table, and where the page is."""
    console = _console()
    rows = history.about.get("savings", ())
    if rows:
        console.print(plain(_savings(rows)))
    console.print(text_table([history]))
    console.print(
        "Seconds and joules are modelled from the catalogue, bytes are those of the real frames."
    )
    if history.models:
        first, *others = (history.path / "models" / name for name in history.models)
        more = f" (and {', '.join(path.name for path in others)})" if others else ""
        console.print(plain(f"Models: {first}{more}; distilfleet predict {first} FILE"))
    console.print(plain(f"Page: {page}"))


def _savings(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(row["small"] for row in rows)
    storage = _saving(rows, "storage_saved", "storage")
    flops = _saving(rows, "flops_saved", "FLOPs")
    both = f"{storage} and {flops}".replace(" and saves ", " and ")
    return f"On a device, {names} instead of {rows[0]['large']} {both}."


def _memory(about: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """What training takes, and the quota if there is one."""
    needs = about.get("training_bytes", {})
    takes = ", ".join(f"{name} {pretty_bytes(need)}" for name, need in needs.items())
    if "quota_bytes" in facts:
        yield (
            f"each device lends the job {pretty_bytes(facts['quota_bytes'])}; training takes "
            f"{takes}"
        )
    elif takes:
        yield f"training takes {takes}"


def _saving(rows: Sequence[Mapping[str, Any]], field: str, what: str) -> str:
    """A share that is saved, or in words that a small model takes more than the large one."""
    shares = [row[field] for row in rows]
    low = min(shares)
    high = max(shares)
    if low < 0:
        times = f"{1 - low:.3g}" if low == high else f"{1 - high:.3g} to {1 - low:.3g}"
        return f"takes {times} times the {what.removeprefix('of ')}"
    return (
        f"saves {low:.2%} of {what}" if low == high else f"saves {low:.2%} to {high:.2%} of {what}"
    )


def _live(
    console: Console,
    total: int,
    first: int,
    steps: Iterable[Mapping[str, Any]],
    stop: Callable[[], bool],
) -> None:
    bar = Progress(
        TextColumn("round"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("rounds", total=total, completed=first - 1)
    seen: list[Mapping[str, Any]] = []
    waiting = Spinner("dots", "preparing the first round")
    with Live(Group(waiting, bar), console=console, refresh_per_second=8) as live:
        for metrics in steps:
            seen = [*seen[1 - LAST :], metrics]
            bar.update(task, completed=metrics["round"])
            live.update(Group(_table(seen), bar))
            if stop():
                return


def _table(rounds: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(*COLUMNS, box=None, padding=(0, 1), header_style="dim")
    for column in table.columns:
        column.justify = "right"
    for metrics in rounds:
        table.add_row(*_cells(metrics))
    return table


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    known = [str(metrics["round"]), _quality(metrics, "large"), _quality(metrics, "small")]
    return [*known, *_spent(metrics)] if metrics["round"] else [*known, *UNSPENT]


def _spent(metrics: Mapping[str, Any]) -> list[str]:
    energy_j = metrics["device_energy_j"] + metrics.get("server_energy_j", 0.0)
    rate = f"{metrics['tokens_per_s']:,.0f}" if "tokens_per_s" in metrics else "-"
    return [
        pretty_bytes(metrics["up_bytes"]),
        pretty_bytes(metrics["down_bytes"]),
        pretty_j(energy_j),
        pretty_s(metrics["elapsed_s"]),
        _answered(metrics),
        rate,
    ]


def _answered(metrics: Mapping[str, Any]) -> str:
    """Devices, of those that were asked, if any were; missed jobs where a device has several."""
    devices = metrics["devices"]
    missed = metrics["missed"]
    asked = metrics.get("asked", devices + missed)
    if not asked:
        return "-"
    if missed <= asked - devices:
        return f"{devices}/{asked}"
    return f"{devices}/{asked} but {missed:,} job{'' if missed == 1 else 's'} missed"


def _quality(metrics: Mapping[str, Any], who: str) -> str:
    if f"{who}_accuracy" in metrics:
        return f"{metrics[f'{who}_accuracy']:.2%}"
    return f"{metrics[f'{who}_loss']:.3f} nats" if f"{who}_loss" in metrics else "-"


def _line(metrics: Mapping[str, Any], total: int) -> str:
    number, *cells = _cells(metrics)
    named = [f"{name} {cell}" for name, cell in zip(COLUMNS[1:], cells, strict=True) if cell != "-"]
    return f"round {number}/{total} {' '.join(named)}"
