"""Conversions at the edges. Inside, every number is in SI base units and says so in its name."""

BITS_PER_BYTE = 8


def transfer_s(size_bytes: float, rate_bps: float) -> float:
    """Seconds that `size_bytes` occupy a link of `rate_bps`."""
    return BITS_PER_BYTE * size_bytes / rate_bps


def pretty_bytes(size_bytes: float) -> str:
    """A byte count for people, in decimal units: 1.3 MB."""
    return _scaled(size_bytes, "B")


def pretty_flops(work_flops: float) -> str:
    """A count of floating-point operations for people: 2.1 GFLOP."""
    return _scaled(work_flops, "FLOP")


def pretty_j(energy_j: float) -> str:
    """An energy for people: 3.4 kJ."""
    return _scaled(energy_j, "J")


def pretty_s(duration_s: float) -> str:
    """A duration for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if duration_s < 100:
        return f"{duration_s:.3g} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def pretty_count(count: float, noun: str) -> str:
    """A number of things for people: 1 sample, 1,200 samples."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def _scaled(value: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} P{unit}"
