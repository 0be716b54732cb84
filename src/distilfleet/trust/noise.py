"""Noise on embeddings: metric differential privacy, drawn once per sample, with an account for each
sample.

A vector gets noise of uniform direction and a length drawn from Gamma(D, 1/eta), density exp(-eta
|z|): whoever sees the result can tell vectors x and y apart by at most eta |x - y| nats. What is
sent again with fresh noise adds up, and averaging removes the noise; a memoised draw is the same
each time and is paid for once. Rounding to bits afterwards costs nothing, for it sees the noisy
vector alone.

Chance is a cryptographic stream of the device's secret and the sample's digest (SHAKE-256), not a
simulation's generator: of that a server which guesses one token could learn the state, and so all
other noise. Samples are floating-point numbers, so the guarantee is up to their rounding (Mironov,
CCS 2012).

Source: Feyisetan et al., "Privacy- and utility-preserving textual analysis via calibrated
multivariate perturbations", WSDM 2020, https://arxiv.org/abs/1910.08902, section 3.

Axes: N vectors, D width, S samples.
"""

import hashlib
import hmac
from dataclasses import dataclass
from math import inf, isfinite, pi

import numpy as np

LEAST_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """A device's noise. Two tensors of one sample (the teacher's and the student's) need a `tensor`
    of their own."""

    eta_nats: float
    """What may be told per unit of distance between vectors; small is more noise."""
    secret: bytes
    memoised: bool = True

    def __post_init__(self) -> None:
        if not (self.eta_nats > 0 and isfinite(self.eta_nats)):
            raise ValueError(f"eta is {self.eta_nats}; expected a number above 0 (see eta_for)")
        if len(self.secret) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"a secret of {len(self.secret)} bytes; expected at least {LEAST_SECRET_BYTES}, "
                "random"
            )

    def on(self, vectors_ND: np.ndarray, *, digest: bytes, tensor: str, visit: int) -> np.ndarray:
        """The vectors of one sample with noise, float32; `visit` counts how often the sample was
        sent before."""
        key = _key(self.secret, digest, tensor, 0 if self.memoised else visit)
        return np.asarray(
            vectors_ND + draw(key, vectors_ND.shape[0], vectors_ND.shape[1], self.eta_nats),
            np.float32,
        )

    def spent_nats(self, visits_S: np.ndarray, tensors: int = 1) -> np.ndarray:
        """Each sample's account after so many visits, per unit of distance: draws add up, over
        tensors and epochs."""
        draws_S = np.minimum(visits_S, 1) if self.memoised else visits_S
        return np.asarray(self.eta_nats * tensors * draws_S, np.float64)

    def disclosure(self, visits_S: np.ndarray, tensors: int = 1) -> str:
        """One line for the run's record, about the sample that spent most."""
        most_nats = self.spent_nats(visits_S, tensors).max(initial=0.0)
        times = "memoised" if self.memoised else "fresh each time"
        return (
            f"embeddings with metric-DP noise, {times}: eta {self.eta_nats:.4g} nats per unit of "
            f"distance and tensor, at most {most_nats:.4g} for any sample so far"
        )


def eta_for(width: int, norm: float) -> float:
    """Eta of noise with this expected length: the mean of Gamma(D, 1/eta) is D/eta."""
    if not (width > 0 and 0 < norm < inf):
        raise ValueError(f"noise of length {norm} in {width} dimensions; expected numbers above 0")
    return width / norm


def typical_norm(table_VD: np.ndarray) -> float:
    """Mean length of an embedding, the measure of how long noise is."""
    return float(np.linalg.norm(np.asarray(table_VD, np.float32), axis=1).mean())


def draw(key: bytes, count: int, width: int, eta_nats: float) -> np.ndarray:
    """Noise vectors, float64 [N, D]; the same key gives the same.

    Direction: normal numbers (Box and Muller), scaled to length 1. Length: a sum of D exponential
    draws.
    """
    uniform_PND = _uniform(key, 3 * count * width).reshape(3, count, width)
    normal_ND = np.sqrt(-2 * np.log(uniform_PND[0])) * np.cos(2 * pi * uniform_PND[1])
    length_N = -np.log(uniform_PND[2]).sum(axis=1) / eta_nats
    lengths_N = np.linalg.norm(normal_ND, axis=1)
    noise_ND: np.ndarray = (
        normal_ND * (length_N / np.where(lengths_N == 0, 1.0, lengths_N))[:, np.newaxis]
    )
    return noise_ND


def _uniform(key: bytes, count: int) -> np.ndarray:
    """Numbers above 0 and up to 1, of 53 bits."""
    drawn = np.frombuffer(hashlib.shake_256(key).digest(8 * count), "<u8")
    return ((drawn >> np.uint64(11)) + 1) * 2.0**-53


def _key(secret: bytes, digest: bytes, tensor: str, visit: int) -> bytes:
    """One per draw; lengths keep parts from running into each other."""
    parts = (digest, tensor.encode(), visit.to_bytes(8, "little"))
    return hmac.digest(
        secret, b"".join(len(part).to_bytes(4, "little") + part for part in parts), "sha256"
    )
