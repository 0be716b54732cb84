"""The recipe `central_kd`: all text pooled on the server and distilled there, what split KD is held
against."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .flags import TEXT, CommonFlags, Language, LanguageFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """All devices send their text once and the server distils alone: the upper reference of split
    KD, no privacy."""

    common: CommonFlags = TEXT
    language: LanguageFlags = Language()


def central_kd(flags: Flags) -> "Experiment":
    from ..methods.central_kd import CentralKD
    from .language import pretraining, sampled, taking_part, text_setup, token_training

    setup = text_setup(flags.common, flags.language)
    language = flags.language
    teacher = setup.teacher if language.kd_weight else None
    method = CentralKD(
        teacher=teacher,
        student=setup.student,
        profiles=setup.profiles,
        training=token_training(language, devices=taking_part(flags.common, setup)),
        pretraining_data=setup.pretraining_data if teacher is not None else None,
        pretraining=pretraining(language),
    )
    return sampled(
        flags.common, setup, method, "Upper reference: all private text lies on the server."
    )
