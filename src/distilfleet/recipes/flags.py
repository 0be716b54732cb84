"""What a person can set: frozen dataclasses whose fields are the flags of the command line.

A recipe's own dataclass holds the shared ones as fields; on the command line and in `run.toml` all
of them are flat. Reading flags, or help on them, must not take seconds: neither this module nor a
recipe's loads torch, and what a recipe builds from is imported by the function that builds it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from tyro.conf import arg

from ..core.errors import ConfigError
from ..data.reading import GUESSED, Reading
from ..trust.choices import Attack

T = TypeVar("T")
Flat = arg(name="")
ReadingFlags = Annotated[Reading, Flat]

ONE_OR_MORE = frozenset(
    [
        *(
            "devices",
            "per_round",
            "minimum",
            "rounds",
            "threads",
            "local_passes",
            "local_batch",
            "memory_quota_bytes",
        ),
        *(
            "context",
            "batch",
            "steps",
            "pretrain_steps",
            "micro_batches",
            "cluster",
            "test_windows",
        ),
    ]
)
NOT_NEGATIVE = frozenset(
    {
        "spare",
        "seed",
        "mixtures",
        "checkpoint_every_s",
        "anchor",
        "feature_weight",
        "local_weight_decay",
        "keep_wire",
        "keep_every",
        "noise",
    }
    | {"mu"}
)
ABOVE_ZERO = frozenset(
    {
        "bandwidth_hz",
        "rate_hz",
        "deadline_s",
        "delay_budget_s",
        "energy_budget_j",
        "temperature",
        "alpha",
        "lr",
    }
)
SHARES = frozenset(
    {
        "offline_share",
        "ema",
        "local_momentum",
        "kd_weight",
        "pretrain_share",
        "label_counts_share",
        "poison_share",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applies:
    """A flag that changes something under a condition alone."""

    flag: str
    when: Callable[[Mapping[str, Any]], bool]
    """Whether it changes something, by all flags, flat."""
    otherwise: str
    """Why it changes nothing, and what to do."""


APPLIES = (
    Applies(
        flag="bandwidth_hz",
        when=lambda flat: flat.get("channels") != "own",
        otherwise="with --channels own devices share no cells; add --channels normal, say, or "
        "leave it out",
    ),
    Applies(
        flag="poison_share",
        when=lambda flat: "poison" in flat,
        otherwise="no device lies without --poison",
    ),
    Applies(
        flag="proxy_share",
        when=lambda flat: "proxy" not in flat,
        otherwise="with --proxy no share of the training data is taken; leave one of them out",
    ),
    Applies(
        flag="hop",
        when=lambda flat: "window" in flat,
        otherwise="nothing is cut without --window; add it, or leave --hop out",
    ),
    Applies(
        flag="holdout",
        when=lambda flat: "test" not in flat,
        otherwise="with --test nothing is held out of the data; leave one of them out",
    ),
    Applies(
        flag="feature_weight",
        when=lambda flat: flat.get("wire", "weights") == "weights",
        otherwise="intermediate layers are matched with --wire weights alone",
    ),
    Applies(
        flag="delay_budget_s",
        when=lambda flat: flat.get("objective", "deadline") == "deadline",
        otherwise="only --objective deadline keeps a budget of delay; add it, or leave it out",
    ),
    Applies(
        flag="vocabulary",
        when=lambda flat: "tokenizer" not in flat,
        otherwise="the tokenizer that is named has its own entries; leave out --vocabulary or "
        "--tokenizer",
    ),
    Applies(
        flag="small",
        when=lambda flat: flat.get("who") != "large",
        otherwise="with --who large no small model is trained; leave one of them out",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Data, fleet and run: the flags that every recipe has."""

    data: str = "digits"
    """Dataset: `digits` (comes with scikit-learn), `hub:NAME`, or a path: a table (.csv, .parquet
    ...), arrays (.npz, .h5 ...), recordings, .jsonl, a folder of images, sound or texts."""
    holdout: float = 0.2
    """Share of the data that is held out for testing, where the data has no test part."""
    test: str | None = None
    """A file of samples to test on, with the labels and inputs of --data. Default: the data's own
    test part, or a share that is held out."""
    label: str | None = None
    """Column or key that holds the label."""
    group: str | None = None
    """Column or key that names the owner of each sample; one device per owner."""
    reading: ReadingFlags = GUESSED
    """What is not to be guessed about the file."""
    devices: int | None = None
    """Number of devices. Default: 20, or one per owner."""
    device_kinds: tuple[str, ...] = ("rpi-zero-2w", "rpi-3b-plus", "rpi-4b", "rpi-5", "jetson-nano")
    """Kinds of device in the fleet, in equal shares; `distilfleet devices` lists them."""
    catalogue: Path | None = None
    """CSV file with kinds of your own boards, as `distilfleet calibrate` writes it."""
    per_round: int | None = None
    """Devices that take part in a round. Default: all."""
    spare: int = 0
    """Devices called on top of those, so that a round need not wait for its slowest."""
    minimum: int = 1
    """Answers that a round waits for even past its deadline."""
    rounds: int = 20
    """Rounds to train."""
    alpha: float | None = None
    """Skew between devices, Dirichlet: 0.1 is extreme, 1 mild, inf none. Default: 0.5. Not with
    --group."""
    skew: Literal["label", "quantity"] = "label"
    """What --alpha skews: which labels a device has, or how many samples."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    threads: int = 1
    """Processor threads. More help large models on idle cores; on busy ones they wait for each
    other."""
    cohorts: Literal["on", "off"] = "on"
    """Train devices of one architecture side by side where that is faster; off: one after the
    other."""
    out: Path | None = None
    """Directory of the run's record. Default: runs/RECIPE-TIME."""
    checkpoint_every_s: float = 30.0
    """Seconds of wall time between checkpoints."""
    server: str = "server-rtx4060ti-16g"
    """The server's kind."""
    channels: Literal["own", "good", "normal", "poor", "street", "city", "office"] = "own"
    """Radio: every device's own link at its catalogue rate; or cells that devices share, of one
    quality or in a scene with places, walking, fading, heat and batteries."""
    bandwidth_hz: float = 20e6
    """Bandwidth of a cell, in each direction, where devices share cells."""
    keep_every: int = 0
    """Rounds after which devices of a real fleet keep their own model too; at the end they always
    do."""
    keep_wire: int = 0
    """Exchanges with devices that are kept as they travelled, for `distilfleet audit`."""
    deadline_s: float | None = None
    """Simulated seconds after which a round goes on without the devices that are late."""
    offline_share: float = 0.0
    """Share of calls that find a device offline."""
    label_counts_share: float = 1.0
    """Share of simulated owners who let the server hear how many samples of each class their device
    has."""
    poison: Attack | None = None
    """An experiment: some simulated devices lie in this way."""
    poison_share: float = 0.2
    """Share of devices that do."""
    memory_quota_bytes: int | None = None
    """Memory that the job may use on a device; less than the board has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How devices train on their own data."""

    local_passes: int = 5
    """Passes over a device's data per round."""
    local_batch: int = 16
    """Samples per step."""
    local_lr: float = 0.02
    """Step size of stochastic gradient descent."""
    local_momentum: float = 0.9
    """Its momentum."""
    local_weight_decay: float = 5e-4
    """Its weight decay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Smalls:
    """The devices' models."""

    small: tuple[str, ...] = ()
    """Small models: zoo names, `module:function`, or KIND=MODEL to settle one kind of device.
    Default: from the zoo."""
    mode: Literal["homogeneous", "heterogeneous"] = "homogeneous"
    """One architecture for all devices, or for each what its memory and speed afford."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyData:
    """The unlabelled proxy dataset."""

    proxy: str | None = None
    """Unlabelled inputs in any format of --data, or texts (.txt, one a line). Default: a share of
    the training data, unlabelled."""
    proxy_share: float = 0.15
    """That share; it is taken from the devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Text, and the two models that learn from it."""

    teacher: str = "llama:128x2"
    """The large model: llama:WIDTHxLAYERS (trained by this command first), a folder, a hub name, or
    a llama2.c file."""
    student: str = "llama:64x1"
    """The small model, named the same way."""
    tokenizer: str | None = None
    """A folder, file or hub name, or `bytes`. Default: the teacher's own, or one trained on the
    text."""
    context: int = 64
    """Tokens of a window."""
    windows: Literal["packed", "whole"] | None = None
    """Documents one after the other, or each at the start of a window. Default: as the teacher was
    trained, `whole` for a llama2.c file, else `packed`."""
    vocabulary: int = 512
    """Entries of a tokenizer that is trained."""
    pretrain_share: float = 0.75
    """Share of the training text that the server owns; it trains the teacher where that does not
    come trained."""
    pretrain_steps: int = 1000
    """Steps of that training."""
    pretrain_lr: float = 2e-3
    """Its largest step size."""
    batch: int = 4
    """Windows of a device in a step."""
    steps: int = 10
    """Steps of a round."""
    lr: float = 2e-3
    """Adam's step size, on the server and on devices."""
    kd_weight: float = 0.7
    """Share of the distillation loss; the rest is cross-entropy."""
    temperature: float = 1.0
    """Temperature of the distillation loss."""
    test_windows: int = 256
    """Held-out windows that quality is measured on, evenly spaced over all there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where models compute."""

    accelerator: str = "cpu"
    """Where the server's models, and simulated devices' own, compute: cpu, cuda, cuda:1, xpu, mps,
    or auto for the first that is there. Runs are equal to the bit on one kind of machine."""


PlacementFlags = Annotated[Placement, Flat]
CommonFlags = Annotated[Common, Flat]
TrainingFlags = Annotated[Training, Flat]
SmallFlags = Annotated[Smalls, Flat]
ProxyFlags = Annotated[ProxyData, Flat]
LanguageFlags = Annotated[Language, Flat]
DEVICES = 8
"""Of a run on text."""
TEXT = Common(
    data="stdlib",
    devices=DEVICES,
    rounds=60,
    holdout=0.1,
    device_kinds=("rpi-4b", "rpi-5", "jetson-nano"),
)


def flatten(flags: Any) -> dict[str, Any]:
    """Flag -> value, all levels in one; unset flags are left out. Plain data, fit for TOML."""
    import msgspec

    flat: dict[str, Any] = {}
    for field in fields(flags):
        value = getattr(flags, field.name)
        if is_dataclass(value):
            flat |= flatten(value)
        elif value is not None and field.name != "out":
            flat[field.name] = msgspec.to_builtins(value, enc_hook=str)  # paths
    return flat


def common(flags: Any) -> Common:
    """The shared flags of a recipe's; their defaults if it has none."""
    return next(
        (v for v in (getattr(flags, f.name) for f in fields(flags)) if isinstance(v, Common)),
        Common(),
    )


def with_common(flags: T, common: Common) -> T:
    """The same with other shared flags."""
    changed: dict[str, Any] = {
        field.name: common
        for field in fields(flags)  # type: ignore[arg-type]
        if isinstance(getattr(flags, field.name), Common)
    }
    return replace(flags, **changed)  # type: ignore[type-var]


def check(flags: Any) -> None:
    """Raises ConfigError for a number that is out of its range, or a flag that changes nothing, in
    any recipe."""
    flat = flatten(flags)
    for name, value in flat.items():
        wanted = _unmet(name, value)
        if wanted is not None:
            raise ConfigError(f"{option(name)} is {value}; it must be {wanted}")
    given = flat.keys() & changed(flags)
    for rule in APPLIES:
        if rule.flag in given and not rule.when(flat):
            raise ConfigError(f"{option(rule.flag)} changes nothing here: {rule.otherwise}")


def changed(flags: Any) -> set[str]:
    """Flags whose values are not their recipe's own."""
    usual = flatten(type(flags)())
    flat = flatten(flags)
    return {name for name in usual.keys() | flat.keys() if usual.get(name) != flat.get(name)}


def option(name: str) -> str:
    """A flag as it is typed."""
    return f"--{name.replace('_', '-')}"


def _unmet(name: str, value: Any) -> str | None:
    """The range that a flag's value is not in; NaN is in none."""
    if name in ONE_OR_MORE and not value >= 1:
        return "at least 1"
    if (name in NOT_NEGATIVE or name.endswith("_passes")) and not value >= 0:
        return "at least 0"
    if (name in ABOVE_ZERO or name.endswith("_lr")) and not value > 0:
        return "above 0"
    if name in SHARES and not 0 <= value <= 1:
        return "between 0 and 1"
    return None


RENAMED = {
    "school_share": "pretrain_share",
    "school_steps": "pretrain_steps",
    "school_lr": "pretrain_lr",
    "remember": "teacher_cache",
    "late": "pipelined",
}
"""Flags by the names that they had, and the names that they have."""


def renamed(kind: Any, names: Iterable[str]) -> dict[str, str]:
    """Those of the names that these flags do not have any more, and what they are called now."""
    known = names_of(kind)
    return {
        name: RENAMED[name] for name in names if name not in known and RENAMED.get(name) in known
    }


def names_of(kind: Any) -> set[str]:
    """The flags of a dataclass, all levels in one."""
    hints = get_type_hints(kind)
    nested = [names_of(hint) for hint in hints.values() if is_dataclass(hint)]
    return {name for name, hint in hints.items() if not is_dataclass(hint)}.union(*nested)


def unflatten(kind: type[T], flat: Mapping[str, Any]) -> T:
    """The flags again. Raises ConfigError if a value is of the wrong type, or has a name of
    before."""
    import msgspec

    for old, new in renamed(kind, flat).items():
        raise ConfigError(
            f"the settings of this run name {old}, which is called {new} now: rename it in its "
            "run.toml"
        )
    try:
        return msgspec.convert(
            _nest(kind, flat), kind, strict=False, dec_hook=lambda other, value: other(value)
        )
    except msgspec.ValidationError as fault:
        raise ConfigError(f"the settings of this run cannot be read: {fault}") from None


def _nest(kind: Any, flat: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    nested = {name: _nest(hint, flat) for name, hint in hints.items() if is_dataclass(hint)}
    return nested | {name: flat[name] for name in hints if name in flat and name not in nested}
