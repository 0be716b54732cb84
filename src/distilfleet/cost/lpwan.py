"""Radios for little data over a long way: LTE-M, NB-IoT and LoRa. Fit for soft labels, never for smashed data.

A bearer's rate holds at good coverage; behind walls each block is repeated, up to 128 times, so the rate falls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from ..core.units import BITS_PER_BYTE

LORA_SYMBOL_CHIPS = 2
LORA_CODING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Rates of the air interface, one direction at a time, and what the radio draws while it sends."""

    name: str
    up_bps: float
    down_bps: float
    transmit_w: float
    duty_share: float = 1.0
    """Of the time that a device may send."""
    source: str


def lora(spreading: int, *, bandwidth_hz: float = 125e3, coding: int = 1, duty_share: float = 0.01) -> Bearer:
    """LoRa at a spreading factor of 7 to 12: SF x BW / 2^SF x 4 / (4 + CR), Semtech AN1200.22.

    Raises ValueError beyond those factors.
    """
    if not 7 <= spreading <= 12:
        raise ValueError(f"a LoRa spreading factor is 7 to 12, got {spreading}")
    rate_bps = spreading * bandwidth_hz / LORA_SYMBOL_CHIPS**spreading * LORA_CODING / (LORA_CODING + coding)
    return Bearer(
        name=f"lora-sf{spreading}",
        up_bps=rate_bps,
        down_bps=rate_bps,
        transmit_w=0.13,
        duty_share=duty_share,
        source="rate: Semtech AN1200.22; duty cycle: ETSI EN 300 220, 868 MHz, 1 %; power: estimate, 14 dBm",
    )


BEARERS: Mapping[str, Bearer] = MappingProxyType(
    {
        bearer.name: bearer
        for bearer in (
            Bearer(
                name="lte-m",
                up_bps=375e3,
                down_bps=300e3,
                transmit_w=0.9,
                source="3GPP release 13, category M1, half duplex (1 Mbit/s in full duplex); power: estimate, 23 dBm",
            ),
            Bearer(
                name="nb-iot",
                up_bps=62.5e3,
                down_bps=26e3,
                transmit_w=0.8,
                source="3GPP release 13, category NB1; down and power: estimate, 23 dBm",
            ),
            Bearer(
                name="nb-iot-2",
                up_bps=159e3,
                down_bps=127e3,
                transmit_w=0.8,
                source="3GPP release 14, category NB2; down and power: estimate, 23 dBm",
            ),
            lora(7),
            lora(12),
        )
    }
)


def on_air_s(bearer: Bearer, size_bytes: ArrayLike, repeats: ArrayLike = 1) -> np.ndarray:
    """Seconds that the radio sends a message, each block `repeats` times; times `transmit_w` the joules."""
    return np.asarray(BITS_PER_BYTE * np.asarray(size_bytes, float) * np.asarray(repeats) / bearer.up_bps)


def sending_s(bearer: Bearer, size_bytes: ArrayLike, repeats: ArrayLike = 1) -> np.ndarray:
    """Seconds until a message is through, with the silence that the duty cycle asks for."""
    return np.asarray(on_air_s(bearer, size_bytes, repeats) / bearer.duty_share)
