"""The recipe `splitkd`: a language model is distilled over devices that run embedding modules and
first layers."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ..core.errors import ConfigError
from ..methods.splitkd.choices import Divergence, Lengths, Sort
from .flags import TEXT, CommonFlags, Language, LanguageFlags, Placement, PlacementFlags

BITS: dict[str, Literal[4, 8, 16]] = {"fp16": 16, "int8": 8, "int4": 4}

if TYPE_CHECKING:
    from ..core.protocols import Planner
    from ..methods.splitkd.server import SplitKD
    from ..methods.splitkd.settings import SplitSettings
    from ..plan.options import Workload
    from ..training.experiment import Experiment
    from .language import TextSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Split KD: devices run the embedding modules, and layers up to the cut; the server finishes
    both models."""

    common: CommonFlags = replace(TEXT, keep_wire=8)
    language: LanguageFlags = Language()
    placement: PlacementFlags = Placement()
    teacher_precision: Literal[32, 16] = 32
    """Bits of the teacher's weights: 16 are bfloat16, half the memory. A teacher that this command
    trains is trained in 32."""
    recompute: bool = False
    """Compute the student's activations again in the backward pass: less memory, a third more work
    of the server."""
    cut: int | None = None
    """Layers of the student on each device. Default: as the planner finds best for each."""
    smashed: tuple[Literal["fp16", "int8", "int4"], ...] = ("int8",)
    """What a number on its way up is sent as; of several the planner chooses. Gradients come back
    as int8, or fp16 with fp16 alone."""
    objective: Literal["sum", "makespan", "deadline", "open", "card"] = "sum"
    """What the planner makes small: delays and energy together, the longest delay, energy within
    --delay-budget-s, delay within --energy-budget-j in the long run, or as the published CARD
    does."""
    delay_budget_s: float | None = None
    """Seconds of a step, for the objective deadline."""
    energy_budget_j: float | None = None
    """Joules of a device in a step, above idling."""
    price_s_per_j: float = 0.02
    """Seconds that a joule is worth to the planner."""
    privacy_floor: int = 0
    """Least cut that a device may have."""
    labels: Literal["shared", "kept"] = "shared"
    """Whether labels go to the server, or the loss is computed on the device from the last hidden
    states."""
    noise: Lengths = 0.0
    """Noise on smashed data, its length in typical lengths of an embedding; 0: none. Not with
    labels that are tokens and travel."""
    lora: int = 0
    """Rank of adapters, all else of the student frozen; 0: all of it is trained."""
    micro_batches: int = 2
    """Parts of a step that are under way at the same time."""
    teacher_cache: Sort = "ids"
    """What the server keeps of the teacher's answer to a window it has seen, so that it is asked
    once."""
    divergence: Divergence = "forward"
    """Divergence between teacher and student: forward or reverse KL, Jensen-Shannon, or KL against
    a mixture of both. All but the first need the teacher's whole distribution: --teacher-cache
    hidden or none."""
    pipelined: bool = False
    """Start a step before the gradient of the one before has come: shorter steps, worse ones at
    large step sizes."""
    cluster: int | None = None
    """Devices that train in parallel, clusters one after another. Default: all."""


def splitkd(flags: Flags) -> "Experiment":
    from ..training.experiment import Keep
    from .language import assemble, text_setup

    setup = text_setup(flags.common, flags.language)
    _check(flags, setup)
    method = _method(flags, setup)
    experiment = assemble(flags.common, setup, method, _planner(flags, setup, method))
    keep = Keep(ops=("step", "loss"), before="begin", after="end")
    return replace(experiment, keep=keep)


def _check(flags: Flags, setup: "TextSetup") -> None:
    """Raises ConfigError for flags that do nothing together."""
    if flags.noise and flags.labels == "shared" and setup.classes is None:
        raise ConfigError(
            "--noise hides nothing where labels, which are the tokens, travel: add --labels kept"
        )
    if flags.divergence != "forward" and flags.teacher_cache in ("ids", "top"):
        raise ConfigError(
            f"--divergence {flags.divergence} needs the teacher's whole distribution, and "
            f"--teacher-cache {flags.teacher_cache} keeps a part of it: add --teacher-cache "
            "hidden, or none"
        )


def _method(flags: Flags, setup: "TextSetup") -> "SplitKD":
    import torch

    from ..methods.splitkd.modules import Loss
    from ..methods.splitkd.server import SplitKD
    from ..nn.place import Place, accelerator
    from .language import pretraining

    language = flags.language
    with_teacher = bool(language.kd_weight)
    loss = Loss(
        kd_weight=language.kd_weight,
        temperature=language.temperature,
        divergence=flags.divergence,
        teacher_cache=flags.teacher_cache,
    )
    device = accelerator(flags.placement.accelerator)
    dtype = torch.bfloat16 if flags.teacher_precision == 16 else torch.float32
    teacher = replace(setup.teacher, dtype=dtype, place=Place(device=device))
    return SplitKD(
        teacher=teacher if with_teacher else None,
        student=replace(setup.student, place=Place(device=device, recompute=flags.recompute)),
        split=_split(flags, setup),
        loss=loss,
        pipelined=flags.pipelined,
        lora_rank=flags.lora,
        pretraining_data=setup.pretraining_data if with_teacher else None,
        pretraining=pretraining(language),
    )


def _split(flags: Flags, setup: "TextSetup") -> "SplitSettings":
    from ..methods.splitkd.settings import SplitSettings

    language = flags.language
    return SplitSettings(
        teacher=setup.profiles[setup.teacher.name],
        student=setup.profiles[setup.student.name],
        batch=language.batch,
        steps=language.steps,
        micro_batches=min(flags.micro_batches, language.batch),
        context=language.context,
        bits=BITS[flags.smashed[0]],
        gradient_bits=16 if flags.smashed == ("fp16",) else 8,
        labels=flags.labels,
        classes=setup.classes,
        lr=language.lr,
        train_rows=not flags.lora,
        with_teacher=bool(language.kd_weight),
        cut=flags.cut or 0,
        noise=flags.noise,
    )


def _planner(flags: Flags, setup: "TextSetup", method: "SplitKD") -> "Planner":
    from ..core.types import Budget
    from ..plan.options import decoder_options
    from ..plan.split import SplitPlanner
    from .machines import sample

    split = method.split
    teacher = split.teacher if split.with_teacher else None
    options = decoder_options(teacher, split.student, _workload(flags, setup))
    return SplitPlanner(
        options=options if flags.cut is None else options.at(flags.cut),
        server=setup.server,
        objective=flags.objective,
        budget=Budget(delay_s=flags.delay_budget_s, energy_j=flags.energy_budget_j),
        privacy_floor=flags.privacy_floor,
        price_s_per_j=flags.price_s_per_j,
        steps=flags.language.steps,
        outage="leave out",
        cluster=flags.cluster,
        sample=sample(flags.common, len(setup.devices)),
    )


def _workload(flags: Flags, setup: "TextSetup") -> "Workload":
    """What a step is made of, for the planner."""
    from ..plan.options import Workload

    language = flags.language
    return Workload(
        batch_tokens=language.batch * language.context,
        steps=language.steps,
        bits=tuple(BITS[one] for one in flags.smashed),
        rank=flags.lora or None,
        rows=setup.rows,
        labels_kept=flags.labels == "kept",
        teacher_bits=flags.teacher_precision,
    )
