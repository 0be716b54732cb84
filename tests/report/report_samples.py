"""Small histories to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from distilfleet.core.protocols import MethodFacts
from distilfleet.methods.splitkd import server
from distilfleet.record.history import History

REASONS = ("offline", "deadline", "surplus", "rejected: weights hold NaN")


def history(
    name: str = "demo",
    *,
    recipe: str = "koala",
    rounds: int = 10,
    asked: int = 10,
    devices: int = 5,
    seed: int = 7,
    quality: str = "accuracy",
    small: float | None = 0.8,
    classes: int = 10,
    job_bytes: int = 1000,
    misses: bool = False,
    word: str = "",
    about: Mapping[str, Any] | None = None,
    fleet: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> History:
    """A run whose figures are easy to foretell; `word` goes wherever a name or a reason may come
    from outside."""
    return History(
        path=Path("runs") / name,
        about=_about(recipe, asked, devices, seed, classes, word) if about is None else about,
        fleet=_fleet(devices, classes, word) if fleet is None else fleet,
        rounds=[
            _round(r, rounds, devices, quality, small, job_bytes, misses, word)
            for r in range(1, rounds + 1)
        ]
        if rows is None
        else rows,
    )


def facts_of(recipe: str) -> MethodFacts:
    """Those of the smallest instance of the recipe's method."""
    method = server if recipe == "splitkd" else import_module(f"distilfleet.methods.{recipe}")
    return method.tiny().facts


def _about(
    recipe: str, asked: int, devices: int, seed: int, classes: int, word: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "recipe": recipe,
        "started": "2026-11-21T10:00:00Z",
        "rounds": asked,
        "seed": seed,
        "disclosure": "weights and sample counts: the server sees each device's trained small "
        f"model{word}",
        "method": asdict(facts_of(recipe)),
        "notes": [f"counterfactual: memory limits were ignored{word}"],
        "settings": {
            "devices": devices,
            "small": ["conv-xs", "conv-s"],
            f"label{word}": word,
            "alpha": 0.5,
            "lora": False,
        },
        "versions": {"distilfleet": "0.1.0", "numpy": word},
        "models": {"large": f"conv-xl{word}", "small": ["conv-xs", f"conv-s{word}"]},
        "data": {
            "name": f"digits{word}",
            "classes": [f"{place}{word}" for place in range(classes)],
            "train": 1200,
            "test": 360,
            "proxy": 180,
            "partition": f"dirichlet alpha 0.5, seed 7{word}",
        },
        "savings": [
            {
                "small": f"conv-xs{word}",
                "large": f"conv-xl{word}",
                "storage_saved": 0.97,
                "flops_saved": 0.98,
                "small_parameters": 6000,
                "large_parameters": 200_000,
                "small_forward_flops": 1e6,
                "large_forward_flops": 5e7,
            }
        ],
    }


def _fleet(devices: int, classes: int, word: str) -> dict[str, Any]:
    shown = [
        {
            "id": f"device-{place:02d}{word}",
            "kind": f"rpi-4b{word}",
            "model": f"conv-s{word}",
            "samples": 3 * classes,
            "labels": [(place * 7 + label * 3) % 6 for label in range(classes)],
            "memory_bytes": 300_000,
            "board_memory_bytes": 3_600_000_000,
        }
        for place in range(devices)
    ]
    return {
        "total": devices,
        "server": f"server{word}",
        "kinds": {f"rpi-4b{word}": devices},
        "quota_bytes": 300_000,
        "shown": shown,
    }


def _round(
    number: int,
    rounds: int,
    devices: int,
    quality: str,
    small: float | None,
    job_bytes: int,
    misses: bool,
    word: str,
) -> dict[str, Any]:
    lost = range(0, devices, 3) if misses else range(1)
    reached = 0.5 + 0.5 * (number - 1) / max(1, rounds - 1) if rounds > 1 else 1.0
    row: dict[str, Any] = {"round": number, f"large_{quality}": 0.9 * reached}
    if small is not None:
        row[f"small_{quality}"] = small * reached
    return row | {
        "up_bytes": devices * job_bytes,
        "down_bytes": devices * job_bytes,
        "device_energy_j": 2.5 * devices,
        "server_energy_j": 300.0,
        "elapsed_s": 20.0 * number,
        "wall_s": 1.5 * number,
        "devices": devices - len(lost),
        "missed": len(lost),
        "missed_jobs": [
            [f"device-{place:02d}{word}", f"{REASONS[(place + 3) % 4]}{word}"] for place in lost
        ],
        "proxy_kl_nats": 1 / number,
    }
