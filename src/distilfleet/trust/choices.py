"""What can be chosen by name of how answers are attacked and merged; loads no arrays, so that flags
are read fast."""

from typing import Literal

Attack = Literal[
    "sign-flip", "random", "huge", "nan", "wrong-labels", "a-little", "inner-product", "runner-up"
]
Rule = Literal[
    "mean",
    "clipped-mean",
    "trimmed-mean",
    "geometric-median",
    "centred-clipping",
    "guarded-median",
    "multi-krum",
    "neighbour-mixing",
]
ROBUST: Rule = "guarded-median"
"""What recipes take unless they are told otherwise."""
Refine = Literal[
    "mean",
    "prior",
    "entropy",
    "variance",
    "mean+era",
    "mean+sharp",
    "prior+era",
    "prior+sharp",
    "entropy+sharp",
]
