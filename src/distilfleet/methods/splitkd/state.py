"""What the server of split KD knows between rounds."""

from dataclasses import dataclass

from ...core.types import Arrays, DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the server knows between rounds."""

    seed: int
    round: int
    student: Arrays
    """Weights that training changes, by their name in the model."""
    moments: Arrays
    """What the server's optimiser keeps."""
    teacher: Arrays
    """Where the run trains its own teacher; else empty, and the teacher is the one that it was
    given."""
    present: Arrays
    """Which rows occur on each device, packed bits."""
    holders: tuple[DeviceId, ...]
    """Devices that have their teacher rows."""
    signals: Arrays
    """What is remembered of the teacher, by sample."""
    tokens: int
    """Predicted in the last round."""
    uploads: int
    """Samples whose teacher part was sent in the last round."""
