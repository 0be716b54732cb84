"""The model card: a README.md in Hugging Face's form, a head of YAML between dashes and sentences
for people.

The form: https://huggingface.co/docs/hub/model-cards. Strings of the head are quoted as JSON quotes
them, which YAML reads alike, so that no name can break out of its line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.types import TrainedModel
from ..core.units import pretty_bytes, pretty_count
from ..data.spec import DataSpec
from ..record.command import pieces

TASKS = {
    "table": "tabular-classification",
    "image": "image-classification",
    "series": "time-series-classification",
    "text": "text-classification",
}
"""What the hub calls classifying samples of each kind."""
GENERATION = "text-generation"
AUTO = {
    GENERATION: "AutoModelForCausalLM",
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "audio-classification": "AutoModelForAudioClassification",
}
"""The class of `transformers` that loads a model of a task."""
POOLED = "net.encoder."
"""How weights are named of an encoder with a head of ours, which no class of them loads."""
METRICS = {"accuracy": "accuracy", "loss": "nats per token"}
"""What a run measures of each of its models, and what a card calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """A run, as its record tells of it."""

    about: Mapping[str, Any] = field(default_factory=dict)
    """`run.toml`: recipe, settings and which of them were given, data, disclosure, versions."""
    fleet: Mapping[str, Any] = field(default_factory=dict)
    """`fleet.json`: who took part."""
    last: Mapping[str, Any] = field(default_factory=dict)
    """The metrics of the last round."""


def card(name: str, trained: TrainedModel, run: CardFacts, spec: DataSpec | None) -> str:
    """The whole file."""
    task = _task(spec)
    head = "\n".join(_yaml(_head(name, trained, run, task)))
    parts = (
        _opening(name, trained, run, task),
        _use(trained, task),
        _data(run, spec),
        _training(run),
        _figures(trained, run),
        _disclosure(run),
    )
    return f"---\n{head}\n---\n\n" + "\n".join(part for part in parts if part)


# --- the head -------------------------------------------------------------------------------------


def _task(spec: DataSpec | None) -> str:
    if spec is None:
        return "other"
    return TASKS.get(spec.kind, "other") if spec.classes else GENERATION


def _head(name: str, trained: TrainedModel, run: CardFacts, task: str) -> dict[str, Any]:
    recipe = str(run.about.get("recipe", ""))
    head: dict[str, Any] = {
        "library_name": "transformers" if _auto(trained, task) else "distilfleet",
        "pipeline_tag": task,
        "tags": ["distilfleet", "federated-learning", *([recipe] if recipe else [])],
    }
    if trained.distilled_from:
        head["tags"].append("knowledge-distillation")
        head["distilled_from"] = list(trained.distilled_from)
    measured = [
        {"type": kind, "value": value, "name": METRICS[kind]}
        for kind, value in _measured(trained, run)
    ]
    if measured:
        dataset = _part(run.about, "data").get("name", "unknown")
        results = {
            "task": {"type": task},
            "dataset": {"type": dataset, "name": dataset},
            "metrics": measured,
        }
        head["model-index"] = [{"name": name, "results": [results]}]
    return head


def _auto(trained: TrainedModel, task: str) -> str:
    """The class of `transformers` that loads the model; empty where none does."""
    by_transformers = getattr(trained.model, "is_pretrained", True)  # as decoders are
    if any(name.startswith(POOLED) for name in trained.weights):
        return ""
    return AUTO.get(task, "") if by_transformers else ""


def _yaml(value: Any) -> Iterator[str]:
    """Lines of a mapping or a list, without indentation of their own."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{key}:", inner)
    else:
        for inner in value:
            first, *rest = _yaml(inner) if _is_nested(inner) else [json.dumps(inner)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)


def _entry(key: str, inner: Any) -> Iterator[str]:
    if not _is_nested(inner):
        yield f"{key} {json.dumps(inner)}"
        return
    yield key
    yield from (f"  {line}" for line in _yaml(inner))


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _measured(trained: TrainedModel, run: CardFacts) -> list[tuple[str, float]]:
    return [
        (kind, float(run.last[f"{trained.size}_{kind}"]))
        for kind in METRICS
        if f"{trained.size}_{kind}" in run.last
    ]


# --- the text -------------------------------------------------------------------------------------


def _opening(name: str, trained: TrainedModel, run: CardFacts, task: str) -> str:
    method = _part(run.about, "method").get("title", "a run of distilfleet")
    numbers = sum(array.size for array in trained.weights.values())
    size_bytes = sum(array.nbytes for array in trained.weights.values())
    what = (
        f"`{trained.model.name}`, {pretty_count(numbers, 'number')} in {pretty_bytes(size_bytes)}"
    )
    taught = (
        f" It was distilled from {_listed(trained.distilled_from)}."
        if trained.distilled_from
        else " It was trained on data alone, without a teacher."
    )
    return f"# {name}\n\nA {trained.size} model ({what}) for {task}, made by {method}.{taught}\n"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _use(trained: TrainedModel, task: str) -> str:
    own = (
        "\nThe architecture is its author's own code, which does not lie here: "
        "load it with `own_models=True` where that code is.\n"
        if getattr(trained.model, "is_own", False)
        else ""
    )
    load = ", own_models=True" if own else ""
    lines = ["import distilfleet", "", f'model = distilfleet.load("path/to/this/folder"{load})']
    if task == GENERATION:
        lines.append('print(model.generate("Once upon a time", tokens=40))')
    else:
        lines.append("print(model.classes, model.predict(samples))  # samples as they are stored")
    kind = _auto(trained, task)
    auto = f"\nor `{kind}.from_pretrained(folder)` of `transformers`.\n" if kind else ""
    program = "\n```python\n" + "\n".join(lines) + "\n```\n"
    return (
        f"## Use\n{program}{auto}\nOn the command line: `distilfleet predict path/to/this/folder "
        f"FILE`.\n{own}"
    )


def _data(run: CardFacts, spec: DataSpec | None) -> str:
    data = _part(run.about, "data")
    if not data:
        return ""
    counts = [f"{data[kind]} {word}" for kind, word in COUNTED.items() if kind in data]
    lines = [
        f"- {data.get('name', 'unknown')}: {', '.join(counts)}"
        if counts
        else f"- {data.get('name', 'unknown')}"
    ]
    if data.get("partition"):
        lines.append(f"- division among devices: {data['partition']}")
    if spec is not None and spec.classes:
        lines.append(f"- classes: {', '.join(spec.classes)}")
    if spec is not None and spec.columns:
        lines.append(f"- columns, in order: {', '.join(column.name for column in spec.columns)}")
    if data.get("digest"):
        lines.append(f"- digest of the data: {data['digest']}")
    return "## Data\n\n" + "\n".join(lines) + "\n"


COUNTED = {
    "train": "training samples",
    "proxy": "unlabelled proxy samples",
    "test": "held-out samples",
}


def _training(run: CardFacts) -> str:
    kinds = _part(run.fleet, "kinds")
    devices = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    total = run.fleet.get("total", 0)
    lines = [f"- {pretty_count(int(total), 'device')}: {devices}"] if total else []
    if run.last.get("round"):
        lines.append(f"- {pretty_count(int(run.last['round']), 'round')}")
    versions = _part(run.about, "versions")
    if versions:
        lines.append(f"- {', '.join(f'{name} {version}' for name, version in versions.items())}")
    command = " ".join(pieces(run.about)) if "settings" in run.about else ""
    said = f"\nMade by:\n\n```sh\n{command}\n```\n" if command else ""
    story = " ".join(
        str(one).replace("$devices", "devices")
        for one in _part(run.about, "method").get("story", ())
    )
    return f"## Training\n\n{story}\n\n" + "\n".join(lines) + "\n" + said


def _figures(trained: TrainedModel, run: CardFacts) -> str:
    rows = [
        f"| {METRICS[kind]} on held-out data | {value:.4g} |"
        for kind, value in _measured(trained, run)
    ]
    if not rows:
        return ""
    whose = "" if trained.size == "large" else " Where devices differ, it is the mean over them."
    table = "\n".join(["| figure | value |", "|---|---|", *rows])
    return f"## Figures\n\nAfter the last round, by the command above.{whose}\n\n{table}\n"


def _disclosure(run: CardFacts) -> str:
    said = run.about.get("disclosure")
    return f"## What left the devices\n\n{str(said)[0].upper()}{str(said)[1:]}.\n" if said else ""


def _part(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = about.get(name, {})
    return found if isinstance(found, Mapping) else {}
