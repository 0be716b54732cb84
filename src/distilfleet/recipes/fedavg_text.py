"""The recipe `fedavg_text`: devices train the whole student on their text, and the server averages
it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..trust.choices import ROBUST, Rule
from .flags import TEXT, CommonFlags, Language, LanguageFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Federated averaging of a language model: no teacher, whole students on devices."""

    common: CommonFlags = TEXT
    language: LanguageFlags = Language()
    """The teacher is not used; the server's share of the text is left out all the same, so that
    devices own as much as under split KD."""
    aggregate: Rule = ROBUST
    """How devices' weights become one model's; `mean` is the published method."""


def fedavg_text(flags: Flags) -> "Experiment":
    from ..methods.fedavg_text import FedAvgText
    from .language import sampled, text_setup, token_training

    setup = text_setup(flags.common, flags.language)
    method = FedAvgText(
        student=setup.student,
        profile=setup.profiles[setup.student.name],
        training=token_training(flags.language),
        aggregate=flags.aggregate,
    )
    return sampled(flags.common, setup, method)
