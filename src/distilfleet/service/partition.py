"""`distilfleet split`: the partition that a simulation would use, as one file per device and the
server's own part."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import ConfigError
from ..data.reading import GUESSED
from ..recipes.find import recipe
from ..recipes.flags import Common, Language, ProxyData, ReadingFlags, check, flatten, option

if TYPE_CHECKING:
    import numpy as np

SERVER = "server.npz"
PROXY = "proxy.npz"
UNFIT = '/\\:*?"<>|%'
"""Signs that some system does not have in names of files; they are written as in addresses."""
OF_TABLES = ("proxy_share",)
OF_TEXTS = ("context", "vocabulary", "tokenizer", "teacher", "pretrain_share")
OF_TEXTS_ALONE = (
    "is for text, whose recipe has to be named: add --recipe splitkd, say, or leave it out"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFlags:
    """Write what each device of a simulation would own, so that real devices can train on the
    same."""

    data: str
    """Dataset: `digits`, `hub:NAME`, or a path; for text also `stdlib`."""
    devices: int | None = None
    """Number of devices. Default: 20, or one per owner with --group."""
    alpha: float | None = None
    """Skew between devices, Dirichlet. Default: 0.5. Not with --group."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    holdout: float = 0.2
    """Share of the data that is held out for testing, where the data has no test part."""
    test: str | None = None
    """A file of samples to test on. Default: the data's own test part, or a share that is held
    out."""
    label: str | None = None
    """Column or key that holds the label."""
    group: str | None = None
    """Column or key that names the owner of each sample."""
    reading: ReadingFlags = GUESSED
    """What is not to be guessed about the file."""
    proxy_share: float = 0.15
    """Share of the training data that becomes the server's unlabelled proxy dataset."""
    recipe: str = ""
    """Recipe whose windows devices own, such as splitkd; for text."""
    context: int = Language().context
    """Tokens of a window, for text."""
    vocabulary: int = Language().vocabulary
    """Entries of a tokenizer that is trained, for text."""
    tokenizer: str | None = None
    """Tokenizer for text: a folder, file or hub name, or `bytes`. Default: the teacher's own, or
    one trained on the text."""
    teacher: str = Language().teacher
    """Large model for text, which is trained on the server's part of it where it does not come
    trained."""
    pretrain_share: float = Language().pretrain_share
    """Share of the training text that the server owns, where the teacher does not come trained."""
    out: Path = Path("parts")
    """Folder to write to; must not hold anything yet."""


def split(flags: SplitFlags) -> str:
    """What was written. Samples are as models see them, scaled by the whole train part. Raises
    ConfigError."""
    if flags.out.exists() and any(flags.out.iterdir()):
        raise ConfigError(f"{flags.out} is not empty; name another --out")
    _check_apply(flags)
    names = ("data", "seed", "holdout", "devices", "alpha", "test", "label", "group", "reading")
    common = Common(**{name: getattr(flags, name) for name in names})
    check(common)
    flags.out.mkdir(parents=True, exist_ok=True)
    return _split_text(flags, common) if flags.recipe else _split_samples(flags, common)


def _split_samples(flags: SplitFlags, common: Common) -> str:
    from ..data import prepared
    from ..recipes.classifiers import classifier_setup, proxy_texts

    setup = classifier_setup(common, ProxyData(proxy_share=flags.proxy_share))
    source = setup.source
    simulation = setup.simulation()

    def facts(whose: str) -> "dict[str, np.ndarray]":
        return prepared.facts(
            whose, source.classes, source.scaling, source.columns, source.sampling
        )

    for device in setup.devices:
        prepared.write(flags.out / _file(device), simulation.data(device), **facts(prepared.DEVICE))
    named = prepared.named(source.name)
    of_test = prepared.texts(source.test_texts)
    prepared.write(flags.out / SERVER, source.test, **facts(prepared.SERVER), **named, **of_test)
    assert setup.proxy is not None
    of_proxy = prepared.texts(proxy_texts(setup, flags.proxy_share))
    prepared.write(flags.out / PROXY, setup.proxy, **facts(prepared.PROXY), **of_proxy)
    return (
        f"{len(setup.devices)} devices, {simulation.partition}; {SERVER} and {PROXY} for the server"
    )


def _check_apply(flags: SplitFlags) -> None:
    """Raises ConfigError for flags of texts without --recipe, and of tables with it."""
    usual = SplitFlags(data=flags.data)
    moot, why = (
        (OF_TABLES, "is for tables and pictures; leave it out")
        if flags.recipe
        else (OF_TEXTS, OF_TEXTS_ALONE)
    )
    for name in moot:
        if getattr(flags, name) != getattr(usual, name):
            raise ConfigError(f"{option(name)} {why}")


def _file(device: str) -> str:
    """A file name for a device, whatever its owner is called. Raises ConfigError for one that the
    server needs."""
    name = "".join(
        sign if sign.isprintable() and sign not in UNFIT else f"%{ord(sign):02X}" for sign in device
    )
    file = f"%2E{name[1:]}.npz" if name.startswith(".") else f"{name}.npz"
    if file.lower() in (SERVER, PROXY):
        raise ConfigError(f"an owner is called {device!r}, as the server's own file is: rename it")
    return file


def _split_text(flags: SplitFlags, common: Common) -> str:
    if "pretrain_share" not in flatten(recipe(flags.recipe).flags()):
        raise ConfigError(f"--recipe {flags.recipe}: not a recipe of text; leave it out")
    from ..data import prepared
    from ..data.prepared_text import ServedText, write_server
    from ..recipes.language import text_setup

    language = replace(Language(), **{name: getattr(flags, name) for name in OF_TEXTS})
    setup = text_setup(common, language)
    source = setup.source
    facts = prepared.text_facts(prepared.DEVICE, source.classes, source.tokenizer.digest)
    simulation = setup.simulation()
    for device in setup.devices:
        prepared.write(flags.out / _file(device), simulation.data(device), **facts)
    served = ServedText(source=source, pretraining_data=setup.pretraining_data, rows=setup.rows)
    write_server(flags.out / SERVER, served)
    return (
        f"{len(setup.devices)} devices, windows of {flags.context} tokens; {SERVER} for the server"
    )
