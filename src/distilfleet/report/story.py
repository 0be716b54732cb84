"""What was run, in plain language, made from the facts of the record."""

from collections.abc import Callable, Mapping
from typing import Any

from ..record.history import History
from .figures import fleet_size, listed, measured, number, part, recipe, sample

TITLES = {
    "koala": "KOALA",
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "scaffold": "SCAFFOLD",
    "feddf": "FedDF",
    "fedmd": "FedMD",
    "local": "Local training",
    "central": "Central training",
    "splitkd": "Split KD",
    "central_kd": "Central KD",
    "fedavg_text": "FedAvg",
    "koala_text": "KOALA",
}


def title(run: History) -> str:
    """The method and what it learnt, for a headline."""
    name = TITLES.get(recipe(run), recipe(run))
    data = part(run.about, "data").get("name")
    return f"{name} on {data}" if data else name


def story(run: History) -> list[str]:
    """One paragraph, sentence by sentence: who had which data, what a round did, how quality was found."""
    method = _METHODS.get(recipe(run), _any_method)
    planned = [] if run.rounds else ["No round has finished; this is what the run was set up to do."]
    return [*planned, _who(run), *_schooled(run), *method(_Facts(run)), *_tested(run)]


class _Facts:
    """The words that several methods' paragraphs need."""

    def __init__(self, run: History) -> None:
        self.settings: Mapping[str, Any] = part(run.about, "settings")
        models = part(run.about, "models")
        self.large = f"its large model ({models['large']})" if models.get("large") else "its large model"
        self.small = [str(name) for name in listed(models, "small")]
        self.proxy = _count(number(part(run.about, "data"), "proxy"), "unlabelled proxy sample")
        self.some = _some(self.settings.get("per_round", self.settings.get("per-round")), fleet_size(run))
        self.soft = self.settings.get("wire") == "soft-labels"
        self.student = f"the small model ({self.small[0]})" if self.small else "the small model"
        self.steps = _count(number(self.settings, "steps"), "step")
        self.truth = "labels" if sample(run) == "text" else "tokens"
        self.taught = bool(self.settings.get("kd_weight", 1))


def _who(run: History) -> str:
    data = part(run.about, "data")
    devices = _count(fleet_size(run), "device" if measured(run) else "simulated device")
    if measured(run):
        pooled = recipe(run) in ("central", "central_kd")
        what = "sent them to the server, once" if pooled else "kept them"
        return f"{_capital(devices)} of a real fleet had data of their own and {what}."
    samples = _count(number(data, "train"), f"training {sample(run)}") + _long(run)
    split = f", split by {data['partition']}" if data.get("partition") else ""
    if recipe(run) in ("central", "central_kd"):
        return f"{_capital(devices)} held {samples}{split}, and sent all of it to the server, once."
    name = data.get("name", "the data set")
    return f"{_capital(samples)} of {name} were spread over {devices}{split}; each device kept its part."


def _long(run: History) -> str:
    """How much text a window is."""
    shape = listed(part(run.about, "data"), "shape")
    return f" of {_count(shape[0], 'token')}" if sample(run) == "window" and len(shape) == 1 else ""


def _schooled(run: History) -> list[str]:
    """Where the server trained its large model on text of its own before the first round."""
    school = number(part(run.about, "data"), "school")
    large = part(run.about, "models").get("large")
    if not school or not large or recipe(run) == "fedavg_text":
        return []
    return [f"Before, the server trained its large model ({large}) on {_count(school, sample(run))} of its own."]


def _koala(facts: _Facts) -> list[str]:
    reverse = f"The server distilled that knowledge into {facts.large} on {facts.proxy} (reverse distillation), then "
    if facts.soft:
        return [
            f"In each round {facts.some} trained a small model on private data and sent its soft labels on the proxy "
            "data to the server, never weights or data.",
            _mixture(facts, "refined into one consensus"),
            reverse + "sent the large model’s soft labels back, from which each device taught its own small model "
            "(forward distillation).",
        ]
    return [
        f"In each round {facts.some} trained a small model on private data and sent its weights to the server, never "
        "the data.",
        _mixture(facts, "refined into one consensus and each architecture was averaged on its own"),
        reverse + "distilled the large model back into the small ones (forward distillation) and returned them.",
    ]


def _mixture(facts: _Facts, refined: str) -> str:
    if facts.settings.get("mode") == "heterogeneous" or len(facts.small) > 1:
        models = f" ({', '.join(facts.small)})" if facts.small else ""
        return f"Each device had the architecture that it could afford{models}, so the outputs were {refined}."
    return f"All small models share one architecture{_named(facts.small)} and were merged into one."


def _fedavg(facts: _Facts) -> list[str]:
    who = "large" if facts.settings.get("who") == "large" else "small"
    return [
        f"In each round {facts.some} trained the same {who} model on private data and sent its weights to the server.",
        "The server averaged the weights, in proportion to each device’s samples, and returned the average. "
        "There was no distillation and no proxy data.",
    ]


def _fedprox(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} trained the same small model on private data, with a penalty on every step away "
        f"from the weights that it received (a proximal term of weight {facts.settings.get('mu', 0)}), and sent its "
        "weights to the server.",
        "The server averaged the weights, in proportion to each device’s samples, and returned the average.",
    ]


def _scaffold(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} trained the same small model on private data, each step corrected by the "
        "difference between the fleet’s mean gradient and the device’s own, as far as both were known (control "
        "variates), and sent weights and control variate to the server.",
        "The server averaged both, in proportion to each device’s samples, and returned the averages.",
    ]


def _feddf(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} trained a small model on private data and sent its weights to the server.",
        "The server averaged the weights of each architecture, trained each average to match the mean output of all "
        f"received models on {facts.proxy}, and returned it. There is no large model.",
    ]


def _fedmd(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} learnt the fleet’s consensus on {facts.proxy}, trained on private data, and sent "
        "class scores on the proxy data to the server, never weights or data.",
        "The server averaged the scores into the next consensus. There is no large model.",
    ]


def _local(facts: _Facts) -> list[str]:
    return [
        f"Each device trained its own model{_named(facts.small)} alone and exchanged nothing: "
        "what a device reaches without the fleet, and a lower reference for the other methods."
    ]


def _central(facts: _Facts) -> list[str]:
    who = "small" if facts.settings.get("who") == "small" else "large"
    return [
        f"The server trained one {who} model on the pooled data alone, without regard to privacy: what could be "
        "reached if every device gave its data away, and an upper reference for the other methods."
    ]


def _splitkd(facts: _Facts) -> list[str]:
    taught = "teacher and student" if facts.taught else "the student"
    against = f"{'the teacher’s predictions and ' if facts.taught else ''}the true {facts.truth}"
    return [
        f"In each step of a round ({facts.steps}) {facts.some} ran the embedding modules, and the layers of "
        f"{facts.student} before its cut, on a batch of its own, and sent what came out. The server finished {taught}, "
        f"held the student against {against}, trained its part, and returned the gradient from which each device "
        "trained its own.",
        *(["The teacher stayed as it was."] if facts.taught else []),
    ]


def _central_kd(facts: _Facts) -> list[str]:
    small = facts.small[0] if facts.small else "a small model"
    return [
        f"There the small model ({small}) learnt from the pooled text and from {facts.large}, which stayed as it was, "
        "without regard to privacy: an upper reference for split KD."
    ]


def _fedavg_text(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} trained the whole small model{_named(facts.small)} on private text and sent what "
        "had changed in its weights; the server averaged that by tokens. There was no teacher."
    ]


def _koala_text(facts: _Facts) -> list[str]:
    return [
        f"In each round {facts.some} trained a small model{_named(facts.small)} on private text and sent, for every "
        "position of the server’s public windows, ids drawn from what that model says there; never weights or text.",
        f"The server distilled the mixture into {facts.large} and sent ids drawn from that one back, which devices "
        "distilled into their small models.",
    ]


def _any_method(facts: _Facts) -> list[str]:
    return [f"In each round {facts.some} did the work that the method gave them, and the server combined the answers."]


_METHODS: dict[str, Callable[[_Facts], list[str]]] = {
    "koala": _koala,
    "fedavg": _fedavg,
    "fedprox": _fedprox,
    "scaffold": _scaffold,
    "feddf": _feddf,
    "fedmd": _fedmd,
    "local": _local,
    "central": _central,
    "splitkd": _splitkd,
    "central_kd": _central_kd,
    "fedavg_text": _fedavg_text,
    "koala_text": _koala_text,
}


def _tested(run: History) -> list[str]:
    test = number(part(run.about, "data"), "test")
    return (
        [f"Quality was measured on {_count(test, f'held-out {sample(run)}')} that no device had seen."] if test else []
    )


def _some(asked: Any, devices: int) -> str:
    if isinstance(asked, int) and 0 < asked < devices:
        return f"{asked} of them"
    return "every device"


def _named(models: list[str]) -> str:
    return f" ({models[0]})" if len(models) == 1 else ""


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _count(count: float | None, noun: str) -> str:
    """1 sample, 1,200 samples; without a count only the noun."""
    if count is None:
        return f"{noun}s"
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"
