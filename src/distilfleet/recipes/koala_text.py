"""The recipe `koala_text`: small language models on devices and a large one on the server teach
each other by ids."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core.errors import ConfigError
from .flags import TEXT, CommonFlags, Language, LanguageFlags

if TYPE_CHECKING:
    from ..training.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """KOALA's exchange for text: drawn ids on public windows travel, never weights or private
    text."""

    common: CommonFlags = TEXT
    language: LanguageFlags = Language()
    """The teacher is the server's large model, the student that of each device."""
    public: int = 256
    """Windows of the server's that everybody sees."""
    draws: int = 8
    """Ids for each of their positions, from a device and to it."""
    reverse_lr: float = 2e-4
    """Adam's step size for the large model, which learns what devices say."""


def koala_text(flags: Flags) -> "Experiment":
    from ..methods.koala_text import KoalaText, KoalaTextSettings
    from .language import pretraining, sampled, some_of, text_setup, token_training

    setup = text_setup(flags.common, flags.language)
    language = flags.language
    if setup.pretraining_data is None or setup.classes is not None:
        raise ConfigError(
            "koala_text needs text without labels and a teacher that this command trains: the "
            "public windows are the server's; name a teacher such as llama:128x4 and leave out "
            "--label"
        )
    own = token_training(language)
    settings = KoalaTextSettings(
        local=own, forward=own, reverse=replace(own, lr=flags.reverse_lr), draws=flags.draws
    )
    method = KoalaText(
        large=setup.teacher,
        small=setup.student,
        profiles=setup.profiles,
        public=some_of(setup.pretraining_data, flags.public),
        settings=settings,
        pretraining_data=setup.pretraining_data,
        pretraining=pretraining(language),
    )
    return sampled(flags.common, setup, method)
