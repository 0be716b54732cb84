"""Soft labels: class probabilities at a temperature, in memory and packed for the link.

Axes: P proxy samples, C classes.
"""

import numpy as np

LEVELS = 255


def soften(logits_PC: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of the logits divided by the temperature, float32."""
    scaled_PC = logits_PC / np.float32(temperature)
    powers_PC = np.exp(scaled_PC - scaled_PC.max(axis=-1, keepdims=True))
    return np.asarray(powers_PC / powers_PC.sum(axis=-1, keepdims=True), np.float32)


def pack(soft_PC: np.ndarray) -> np.ndarray:
    """One byte per class, [P, C] uint8, on a square-root scale: small probabilities, the dark
    knowledge, keep relative precision. The error of a probability p is at most (2 sqrt(p) + 1/510)
    / 510."""
    return np.asarray(np.round(np.sqrt(soft_PC) * LEVELS), np.uint8)


def unpack(packed_PC: np.ndarray) -> np.ndarray:
    """Probabilities again, float32, each row summing to one. A row of zeros becomes uniform."""
    soft_PC = np.square(packed_PC.astype(np.float32) / LEVELS)
    total_P1 = soft_PC.sum(axis=-1, keepdims=True)
    uniform = np.float32(1 / packed_PC.shape[-1])
    return np.asarray(np.where(total_P1 > 0, soft_PC / np.maximum(total_P1, 1e-12), uniform))
