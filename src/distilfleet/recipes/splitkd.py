"""The recipe `splitkd`: a language model is distilled over devices that run embedding modules and first layers."""

from dataclasses import dataclass
from typing import Literal

from ..methods.splitkd.device import Split
from ..methods.splitkd.learn import Loss
from ..methods.splitkd.server import SplitKD
from ..methods.splitkd.signals import Sort
from ..plan.fixed import FixedCut
from ..plan.sample import Sample
from .flags import CommonFlags
from .language import TEXT, Language, LanguageFlags, assemble, schooling, stage
from .run import Run

BITS: dict[str, Literal[4, 8, 16]] = {"fp16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Split KD: devices run the embedding modules, and layers up to the cut; the server finishes both models."""

    common: CommonFlags = TEXT
    language: LanguageFlags = Language()
    cut: int = 0
    """Layers of the student on each device."""
    smashed: Literal["fp16", "int8", "int4"] = "int8"
    """What a number on its way up is sent as; gradients come back as int8, or fp16 with fp16."""
    labels: Literal["shared", "kept"] = "shared"
    """Whether labels go to the server, or the loss is computed on the device from the last hidden states."""
    lora: int = 0
    """Rank of adapters, all else of the student frozen; 0: all of it is trained."""
    micro_batches: int = 2
    """Parts of a step that are under way at the same time."""
    remember: Sort = "ids"
    """What the server keeps of the teacher's answer to a window it has seen, so that it is asked once."""
    late: bool = False
    """Start a step before the gradient of the one before has come: shorter steps, worse ones at large step sizes."""
    cluster: int | None = None
    """Devices that train in parallel, clusters one after another. Default: all."""


def splitkd(flags: Flags) -> Run:
    scene = stage(flags.common, flags.language)
    language = flags.language
    teacher = scene.teacher if language.kd_weight else None
    method = SplitKD(
        teacher=teacher,
        student=scene.student,
        split=Split(
            teacher=scene.profiles[scene.teacher.name],
            student=scene.profiles[scene.student.name],
            batch=language.batch,
            steps=language.steps,
            micro_batches=min(flags.micro_batches, language.batch),
            context=language.context,
            bits=BITS[flags.smashed],
            gradient_bits=16 if flags.smashed == "fp16" else 8,
            labels=flags.labels,
            classes=scene.classes,
            lr=language.lr,
            train_rows=not flags.lora,
            with_teacher=teacher is not None,
        ),
        loss=Loss(kd_weight=language.kd_weight, temperature=language.temperature, remember=flags.remember),
        late=flags.late,
        lora_rank=flags.lora,
        school=scene.school if teacher is not None else None,
        schooling=schooling(language),
    )
    sample = Sample(
        per_round=flags.common.per_round or len(scene.devices),
        seed=flags.common.seed,
        spare=flags.common.spare,
        minimum=flags.common.minimum,
        deadline_s=flags.common.deadline_s,
    )
    planner = FixedCut(sample=sample, cut=flags.cut, bits=BITS[flags.smashed], cluster=flags.cluster)
    return assemble(flags.common, scene, method, planner)
