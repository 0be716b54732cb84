"""The lower half of a run's page: savings, what the server learns, every round, settings, and how
to run it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.protocols import DisclosureClass
from ..core.units import pretty_flops
from ..record.command import pieces
from ..record.history import History
from . import figures
from .audit import recovery_rows
from .html import Html, paragraph, section, tag
from .html_table import scrolled

MEANING: Mapping[DisclosureClass, str] = {
    "everything": "There is no privacy in this run: whoever reads the server’s disks has the data "
    "itself.",
    "weights": "The data stay on their devices, but weights trained on them say something about "
    "them. Whoever holds a device’s model can test whether a sample was used, and can sometimes "
    "rebuild typical samples. The counts tell who has much data and who little.",
    "weights and control variates": "The data stay on their devices, but weights and gradients say "
    "something about them, and a control variate is the mean gradient of a device’s steps, which "
    "the weights beside it tell as well. Whoever holds either can test whether a sample was used, "
    "and can sometimes rebuild samples, the more so the fewer there are. The counts tell who has "
    "much data and who little.",
    "answers on proxy data": "The server sees how a device’s model answers on shared, unlabelled "
    "inputs. That tells which classes the device knows well, and far less about single samples "
    "than weights do.",
    "answers on public text": "The server sees how a device’s model continues shared, public text. "
    "That tells what kind of text the device has, and far less about single passages than weights "
    "do.",
    "smashed data": "The edge server made the tables that smashed data were looked up in, so it "
    "can look them up in turn; deeper cuts and fewer bits hinder that little. Outsiders and "
    "readers of storage see neither.",
    "noisy smashed data": "Devices add noise to smashed data, which bounds what those tell. A "
    "bound of many nats is a loose one, and rows, layers and gradients that return are not covered "
    "by it.",
    "sample counts": "The server learns how much data a device has, and nothing of what is in it.",
}
"""What each class of disclosure tells, for people."""
_LINE = 100


def disclosure_section(run: History) -> Html | None:
    """The disclosure class in the method's words, and in ours what it means."""
    said = str(run.about.get("disclosure", "")).strip()
    if not said:
        return None
    name, _, rest = said.partition(":")
    kind = tag("strong", f"{figures.capital(name)}.")
    words = tag("p", kind, f" {_sentence(rest)}" if rest.strip() else None)
    meaning = _meaning(run)
    return section(
        "disclosure",
        "What the server learns",
        words,
        paragraph(meaning) if meaning else None,
        recovery_rows(run),
        paragraph("This states what travels; it is no proof of privacy.", "fine"),
    )


def _meaning(run: History) -> str:
    """What the class of disclosure means for those whose data they are."""
    meanings: Mapping[str, str] = {str(kind): words for kind, words in MEANING.items()}
    meaning = meanings.get(figures.discloses(run), "")
    if figures.method(run).get("label_counts"):
        meaning += " The label counts tell how often each class occurs on each device."
    return meaning


def _sentence(words: str) -> str:
    return f"{figures.capital(words.strip()).rstrip('.')}."


def savings_section(run: History) -> Html | None:
    """What a small model saves on a device against the large one."""
    rows = figures.tables(run.about, "savings")
    if not rows or figures.runs_large(run):
        return None
    cells = [_saving(row, "small") for row in rows]
    cells.append(_saving(_large(rows[0]), "large"))
    lead = "A small model on the device, against the large model in its place."
    return section(
        "savings", "What a device saves", paragraph(lead, "lead"), scrolled(_SAVINGS, cells)
    )


_SAVINGS = (
    "Small model",
    "Parameters",
    "FLOPs, one sample forward",
    "Storage saved",
    "FLOPs saved",
)


def _large(row: Mapping[str, Any]) -> dict[str, Any]:
    """The large model's own figures, which every row of the savings repeats."""
    own = {field: value for field, value in row.items() if field.startswith("large_")}
    return {**own, "large": f"{row.get('large', '–')} (large)"}


def _saving(row: Mapping[str, Any], size: str) -> list[str]:
    flops = figures.number(row, f"{size}_forward_flops")
    parameters = figures.number(row, f"{size}_parameters")
    shown_flops = "–" if flops is None else pretty_flops(flops)
    cells = [str(row.get(size, "–")), figures.pretty("", parameters), shown_flops]
    for field in ("storage_saved", "flops_saved"):
        share = figures.number(row, field)
        cells.append(figures.pretty("saved", share))
    return cells


def models_section(run: History) -> Html | None:
    """Where the models lie, how to use them, and which devices have theirs."""
    if not run.models:
        return None
    folders = [f"models/{name}" for name in run.models]
    lead = (
        f"Beside this page, in {' and '.join(folders)}: weights, preprocessing, classes and a "
        "card, ready to be used."
    )
    code = "\n".join(
        [
            f"distilfleet predict {folders[0]} FILE",
            "",
            "# or from Python",
            "import distilfleet",
            f'model = distilfleet.load("{folders[0]}")',
        ]
    )
    box = tag("div", tag("pre", tag("code", code), tabindex=0), class_="command")
    kept = str(run.about.get("kept", ""))
    return section(
        "models", "The models", paragraph(lead, "lead"), box, paragraph(kept) if kept else None
    )


def rounds_details(run: History) -> Html | None:
    """Every number of every round, folded."""
    rounds = [*([run.start] if run.start else []), *run.rounds]
    written = dict.fromkeys(field for row in rounds for field in row)
    fields = [field for field in written if figures.has(run, field)]
    if not fields:
        return None
    rows = [
        [figures.pretty(field, figures.number(row, field)) for field in fields] for row in rounds
    ]
    heads = [field.replace("_", " ") for field in fields]
    return fold(f"Every round in numbers ({len(rows)})", scrolled(heads, rows, "numbers"))


def fold(name: str, *content: Html | None) -> Html:
    """Content that is folded away until somebody opens it."""
    return tag("details", tag("summary", name), *content)


def settings_details(run: History) -> Html | None:
    """All settings, folded."""
    return _pairs("All settings", figures.part(run.about, "settings"))


def versions_details(run: History) -> Html | None:
    """The versions that ran, folded."""
    return _pairs("Versions", figures.part(run.about, "versions"))


def data_details(run: History) -> Html | None:
    """What is known of data and models, folded."""
    return _pairs(
        "Data and models", {**figures.part(run.about, "data"), **figures.part(run.about, "models")}
    )


def _pairs(name: str, facts: Mapping[str, Any]) -> Html | None:
    if not facts:
        return None
    cells = [
        tag("div", tag("dt", str(key)), tag("dd", written(value))) for key, value in facts.items()
    ]
    return fold(f"{name} ({len(facts)})", tag("dl", *cells, class_="pairs"))


def written(value: Any) -> str:
    """A setting's value as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


# --- again ----------------------------------------------------------------------------------------


_AGAIN = (
    "Same seed, same versions and same thread count give the same numbers; seconds of wall time "
    "differ."
)


def again_section(run: History) -> Html:
    """The command that repeats the run, ready to copy."""
    return section("again", "Run it again", command_box(run), paragraph(_AGAIN, "fine"))


def command_box(run: History) -> Html:
    """The command that repeats the run, in a box with a button that copies it."""
    return tag("div", tag("pre", tag("code", command(run)), tabindex=0), class_="command")


def command(run: History) -> str:
    """The command line that repeats the run, for a POSIX shell."""
    return " \\\n  ".join(_filled(pieces(run.about)))


def _filled(pieces: Sequence[str]) -> list[str]:
    """Lines of several flags each, none of them broken."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines) > 1 and len(lines[-1]) + len(piece) < _LINE:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
