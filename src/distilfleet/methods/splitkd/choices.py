"""What can be chosen by name of split KD's losses and memory; loads no arrays, so that flags are
read fast."""

from typing import Literal

Divergence = Literal["forward", "reverse", "jsd", "skewed", "skewed-reverse"]
Sort = Literal["ids", "top", "hidden", "none"]
"""What is remembered: ids drawn from the teacher (unbiased), its largest probabilities and the mass
of the rest, or its last hidden state in 8 bits (the whole distribution again, through the output
table)."""
Lengths = float
"""In typical lengths of an embedding, which is a number without a unit."""
