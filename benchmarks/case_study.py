"""The case study: LLaMA 8B to 1B over five Jetson boards, two servers, three channels. Delay and
energy per round.

    python benchmarks/case_study.py            print both tables
    python benchmarks/case_study.py --write    also write CASE_STUDY.md and case_study.svg here

Constants are in case_study.toml. The first tables are split knowledge distillation with the
teacher; the last one is the setting of CARD (arXiv 2412.00090): split fine-tuning of the 1B model
alone, without a teacher, so that its published figures have something to stand beside. Everything
is modelled.
"""

import argparse
import io
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from distilfleet.core.types import Budget, Channel, Conditions, Device, LanguageProfile, Plan
from distilfleet.cost import catalogue
from distilfleet.nn.trace import trace
from distilfleet.plan.card import card
from distilfleet.plan.decide import equal
from distilfleet.plan.facts import Roster, ServerFacts, part
from distilfleet.plan.options import Options, Workload, decoder_options
from distilfleet.plan.split import SplitPlanner
from distilfleet.plan.stages import stages

HERE = Path(__file__).resolve().parent
PRESET = tomllib.loads((HERE / "case_study.toml").read_text(encoding="utf-8"))
SPECTRAL = (0.1523, 0.2344, 0.377, 0.6016, 0.877, 1.1758, 1.4766, 1.9141, 2.4063, 2.7305)
SPECTRAL += (3.3223, 3.9023, 4.5234, 5.1152, 5.5547)
"""Bits per second and hertz of CQI 1 to 15."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one round of all devices."""

    delay_s: float
    device_j: float
    server_j: float
    idle_j: float
    """What the devices would have spent idling in the time in which they have jobs."""

    @property
    def energy_j(self) -> float:
        return self.device_j + self.server_j

    def standing_by_j(self, idle_w: float) -> float:
        """The same if every device is switched on for the whole round."""
        return self.energy_j + idle_w * self.delay_s - self.idle_j

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in Cost.__slots__})

    def times(self, factor: float) -> "Cost":
        return Cost(**{name: factor * getattr(self, name) for name in Cost.__slots__})


NOTHING = Cost(delay_s=0.0, device_j=0.0, server_j=0.0, idle_j=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    models = (
        trace("llama-3.1-8b", PRESET["work"]["tokens"]),
        trace("llama-3.2-1b", PRESET["work"]["tokens"]),
    )
    told = io.StringIO()
    with redirect_stdout(told):
        table = distilling(models)
        claims(models[1])
    print(told.getvalue())
    if wanted.write:
        (HERE / "CASE_STUDY.md").write_text(INTRODUCTION + told.getvalue(), encoding="utf-8")
        draw(table)


# --- the scene ------------------------------------------------------------------------------------


def board(kind: str, name: str) -> Device:
    """A row of the catalogue, training in 16 bits: servers at their tensor peak, boards at half of
    theirs at least."""
    row, plain = catalogue.entry(kind), catalogue.device(kind, name)
    share = 1.0 if row.family == catalogue.SERVER else 0.5
    peak = max(row.peak_fp32_flops_per_s, share * row.peak_fp16_flops_per_s)
    return replace(plain, speed_flops_per_s=peak * row.train_efficiency)


def conditions(channel: str) -> Conditions:
    devices = {f"d{n}": board(kind, f"d{n}") for n, kind in enumerate(PRESET["devices"], 1)}
    cell = PRESET["cell"]
    rates = [
        cell["band_hz"] * cell["efficiency"] * SPECTRAL[cqi - 1]
        for cqi in PRESET["channels"][channel]
    ]
    channels = {
        one: Channel(up_bps=rate, down_bps=rate) for one, rate in zip(devices, rates, strict=True)
    }
    return Conditions(round=1, devices=devices, ids=tuple(devices), channels=channels)


def options(
    teacher: LanguageProfile | None, student: LanguageProfile, teacher_bits: int
) -> Options:
    work = PRESET["work"]
    return decoder_options(
        teacher,
        student,
        Workload(
            batch_tokens=work["sequences"] * work["tokens"],
            steps=work["steps"],
            bits=(work["bits"],),
            rank=work["rank"],
            rows=work["rows"],
            teacher_bits=teacher_bits,
        ),
    )


def planner(table: Options, server: str, **settings: Any) -> SplitPlanner:
    given = {"price_s_per_j": PRESET["price_s_per_j"], "clocks": PRESET["clocks"], **settings}
    return SplitPlanner(options=table, server=board(server, "server"), **given)


# --- schemes --------------------------------------------------------------------------------------

Chooser = Callable[[Roster], np.ndarray]


def planned(planning: SplitPlanner, there: Conditions, **settings: Any) -> tuple[Cost, Plan]:
    plan = replace(planning, **settings).plan(there)
    ids, seen = replace(planning, **settings).stages(there, plan)
    idle = np.array([there.devices[one].idle_w for one in ids])
    forecast = plan.forecast
    assert forecast is not None
    step = Cost(
        delay_s=forecast.delay_s,
        device_j=forecast.device_energy_j,
        server_j=forecast.server_energy_j,
        idle_j=float((idle * (seen.delay_s - seen.server_s)).sum()),
    )
    return step.times(PRESET["work"]["steps"]), plan


def fixed(planning: SplitPlanner, there: Conditions, choose: Chooser) -> Cost:
    """Given cuts, equal shares, full clock; clusters as the server's memory wants them."""
    whole, server = NOTHING, ServerFacts.of(planning.server)
    for roster in planning.clusters(planning.roster(there)):
        whole += spent(roster, server, choose(roster))
    return whole.times(PRESET["work"]["steps"])


def spent(roster: Roster, server: ServerFacts, chosen: np.ndarray) -> Cost:
    facts = roster.facts
    seen = stages(facts, server, equal(facts, chosen))
    idle = facts.hardware.idle_w[facts.kind] * (seen.delay_s - seen.server_s)
    return Cost(
        delay_s=float(seen.delay_s.max()),
        device_j=float(seen.device_j.sum()),
        server_j=float(seen.server_j.sum()),
        idle_j=float(idle.sum()),
    )


def turns(
    planning: SplitPlanner, there: Conditions, choose: Chooser, clocks: np.ndarray | None = None
) -> Cost:
    """One device after the other, each with the whole cell and server."""
    roster = planning.roster(there)
    chosen = choose(roster)
    clocks = np.ones(len(chosen)) if clocks is None else clocks
    whole = NOTHING
    for n, clock in enumerate(clocks.tolist()):
        whole += spent(
            part(roster, np.array([n])), ServerFacts.of(planning.server, clock), chosen[[n]]
        )
    return whole.times(PRESET["work"]["steps"])


def cards(planning: SplitPlanner, there: Conditions) -> Cost:
    """CARD's cuts and clocks in its own order, priced as everything else is, static power
    included."""
    found = card(
        planning.roster(there).facts,
        planning.server,
        weight=PRESET["card_weight"],
        lowest_share=min(PRESET["clocks"]),
    )
    return turns(planning, there, lambda _: found.chosen, found.clock)


def first(roster: Roster) -> np.ndarray:
    return pick(roster, lambda rows: rows[0])


def deepest(roster: Roster) -> np.ndarray:
    """As deep as each device's memory allows."""
    return pick(roster, lambda rows: rows[-1])


def pick(roster: Roster, take: Callable[[np.ndarray], int]) -> np.ndarray:
    facts = roster.facts
    return np.array([take(np.flatnonzero(facts.allowed_GK[g])) for g in facts.kind])


def at_random(planning: SplitPlanner, there: Conditions) -> Cost:
    rng, seeds = np.random.default_rng(0), PRESET["seeds"]
    runs = [fixed(planning, there, lambda roster: pick(roster, rng.choice)) for _ in range(seeds)]
    whole = runs[0]
    for run in runs[1:]:
        whole += run
    return whole.times(1 / seeds)


# --- tables ---------------------------------------------------------------------------------------

Table = dict[tuple[str, str], dict[str, Cost]]


def distilling(models: Sequence[LanguageProfile]) -> Table:
    print("## Distilling 8B into 1B\n")
    table: Table = {}
    for server, facts in PRESET["servers"].items():
        planning = planner(options(*models, facts["teacher_bits"]), server)
        for channel in PRESET["channels"]:
            costs, plans = schemes(planning, conditions(channel))
            table[server, channel] = costs
            header(server, channel, facts["teacher_bits"], plans)
            for name, cost in costs.items():
                row(name, cost, costs["ours, sum"], idle_w())
            print()
    return table


def schemes(planning: SplitPlanner, there: Conditions) -> tuple[dict[str, Cost], list[Plan]]:
    total, plan = planned(planning, there)
    quickest, quick = planned(planning, there, objective="makespan")
    reference = cards(planning, there)
    most_s = reference.delay_s / PRESET["work"]["steps"]
    frugal, slow = planned(planning, there, objective="deadline", budget=Budget(delay_s=most_s))

    def cuts(roster: Roster) -> np.ndarray:
        return np.array(
            [
                planning.options.find(a.teacher_cut, a.cut, a.bits)
                for a in map(plan.assignments.get, roster.ids)
                if a
            ]
        )

    costs = {
        "ours, sum": total,
        "ours, makespan": quickest,
        "ours, deadline of CARD": frugal,
        "CARD": reference,
        "our cuts, equal shares": fixed(planning, there, cuts),
        "server-only": fixed(planning, there, first),
        "device-only": fixed(planning, there, deepest),
        "random cuts": at_random(planning, there),
    }
    return costs, [plan, quick, slow]


def header(server: str, channel: str, teacher_bits: int, plans: Sequence[Plan]) -> None:
    told = [plan.forecast for plan in plans if plan.forecast]
    gaps = ", ".join(f"{one.objective} {one.gap:.0e}" for one in told)
    cuts = " ".join(
        str(plans[0].assignments[f"d{n}"].cut) for n in range(1, len(PRESET["devices"]) + 1)
    )
    print(
        f"**{server}, {channel} channels.** Teacher in {teacher_bits} bits; clusters of the "
        "server's memory:",
        end=" ",
    )
    print(
        f"{len(plans[0].clusters)}; cuts of the sum: {cuts}; {told[0].binds} binds; proven gaps: "
        f"{gaps}.\n"
    )
    print(
        "| scheme | delay | against ours | devices | server | both, with standby | against ours |"
    )
    print("|---|---|---|---|---|---|---|")


def row(name: str, cost: Cost, ours: Cost, idle_w: float) -> None:
    whole_j = cost.standing_by_j(idle_w)
    print(
        f"| {name} | {cost.delay_s:.3g} s | {cost.delay_s / ours.delay_s:.2f}x | "
        f"{joules(cost.device_j)} | {joules(cost.server_j)} | {joules(whole_j)} | "
        f"{whole_j / ours.standing_by_j(idle_w):.2f}x |"
    )


def joules(amount: float) -> str:
    return f"{amount:,.0f} J"


def idle_w() -> float:
    """Of all boards together."""
    return sum(catalogue.entry(kind).idle_w for kind in PRESET["devices"])


def claims(student: LanguageProfile) -> None:
    """CARD's own setting: no teacher, turns of one device each, and the server's energy alone."""
    print("## Beside CARD's published figures\n")
    print(
        "Published, average: delay -70.8 % against device-only, server energy -53.1 % against "
        "server-only.\n"
    )
    print(
        "| server | channels | CARD: delay | CARD: server energy | ours within CARD's delay: delay "
        "| server energy",
        end="",
    )
    print(" | ours, sum: delay | server energy |\n|---|---|---|---|---|---|---|---|")
    rows = [
        claim(server, channel, student)
        for server in PRESET["servers"]
        for channel in PRESET["channels"]
    ]
    for names, figures in rows:
        print(f"| {names} | " + " | ".join(f"{figure:+.1%}" for figure in figures) + " |")
    print(
        "| mean | | "
        + " | ".join(f"{mean:+.1%}" for mean in np.mean([f for _, f in rows], axis=0))
        + " |\n"
    )


def claim(server: str, channel: str, student: LanguageProfile) -> tuple[str, list[float]]:
    planning = planner(options(None, student, 16), server)
    there = conditions(channel)
    by_device, by_server = turns(planning, there, deepest), turns(planning, there, first)
    reference = cards(planning, there)
    # devices whose work costs no energy: what is left is CARD's objective, the server's
    free = {
        name: replace(one, busy_w=one.idle_w, link=replace(one.link, transmit_w=0.0))
        for name, one in there.devices.items()
    }
    budget = Budget(delay_s=reference.delay_s / PRESET["work"]["steps"])
    same, _ = planned(planning, replace(there, devices=free), objective="deadline", budget=budget)
    total, _ = planned(planning, there)
    costs = (reference, same, total)
    figures = [
        figure
        for cost in costs
        for figure in (cost.delay_s / by_device.delay_s - 1, cost.server_j / by_server.server_j - 1)
    ]
    return f"{server} | {channel}", figures


# --- the figure -----------------------------------------------------------------------------------


def draw(table: Table) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "case study", "svg.fonttype": "none", "axes.axisbelow": True}
    names = list(next(iter(table.values())))
    drawing, axes = plt.subplots(
        2,
        len(PRESET["servers"]),
        figsize=(11, 7.5),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for across, server in enumerate(PRESET["servers"]):
        for down, (label, value) in enumerate(measures()):
            bars(axes[down][across], table, server, (names, label, value))
    drawing.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
    )
    drawing.savefig(HERE / "case_study.svg", metadata={"Date": None})


def measures() -> Iterator[tuple[str, Callable[[Cost], float]]]:
    yield "delay of a round, s", lambda cost: cost.delay_s
    yield "energy of a round with standby, J", lambda cost: cost.standing_by_j(idle_w())


def bars(
    axis: Any, table: Table, server: str, what: tuple[list[str], str, Callable[[Cost], float]]
) -> None:
    names, label, value = what
    places = np.arange(len(PRESET["channels"]))
    for n, name in enumerate(names):
        heights = [value(table[server, channel][name]) for channel in PRESET["channels"]]
        axis.bar(places + (n - len(names) / 2 + 0.5) * 0.1, heights, 0.1, label=name)
    axis.set_yscale("log")
    for formatter in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        formatter(lambda amount, _: f"{amount:,.0f}" if f"{amount:.0f}"[0] in "125" else "")
    axis.set_ylabel(label)
    axis.set_xticks(places, list(PRESET["channels"]))
    axis.set_title(server, fontsize=9)


INTRODUCTION = """# Case study: LLaMA 8B to 1B over five Jetson boards

Written by `python benchmarks/case_study.py --write` from the constants in `case_study.toml`; all of
it is modelled, with the price list of the simulator. Delay is of a round, until the last device is
done; energy is of all devices, and of the server while it works. What the papers used is not
public: figures stand beside CARD's claim and do not reproduce it.

- **Ours**: `sum` minimises the mean over devices of delay and energy (0.02 s per joule), `makespan`
  the end of the round, `deadline` the energy within the delay that CARD takes.
- **CARD** takes turns, one device at a time with the whole cell and server. **Server-only** has the
  embedding modules alone on devices; **device-only** the student as far as memory allows (the
  teacher stays with the server). Both of these and random cuts run side by side with equal shares
  at the full clock.
- A 16 GB RTX 4060 Ti cannot hold the teacher in 16 bits (16.1 GB): it has it in 4 bits there,
  scales included 4.5 GB. Its memory holds the steps of three devices at a time, so there are two
  clusters.

**How to read it.** Every cut of a transformer sends the same bytes, and the servers are far quicker
than the boards, so here the best cut is the first one for everybody: what is gained against equal
shares comes from shares, and against server-only at full clock from the clock. `sum` is not the
quickest for the last device, since it is not asked to be: that is `makespan`, the quickest of all
schemes in every setting. In turns, CARD's devices look frugal where the radio binds: a device that
waits for its turn has no job, and the simulator counts no standby between jobs ([time and
energy](../docs/design/0003-time-and-energy.md)), while devices that share a cell idle through their
step. The column *with standby* and the figure have every board switched on for the whole round;
there, ours within CARD's delay takes less than CARD in every setting. Where CARD's own objective is
compared, server energy within its delay, ours is never worse: last table.

![Delay and energy of a round](case_study.svg)

"""


if __name__ == "__main__":
    main()
