"""ncnn, for phones and boards with Arm processors, by its converter pnnx.

The file `.param` is the net and `.bin` its weights. pnnx rounds weights to half precision unless
told, and ncnn rounds again as it loads and computes unless told there: see `export.play.ncnn`.
"""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pnnx
import torch

from ...core.errors import ConfigError
from ..exportable import Exportable, quiet
from ..runtimes import Precision


def write(model: Exportable, file: Path, precision: Precision) -> None:
    """The net, with its weights beside it, for one sample at a time."""
    with TemporaryDirectory() as folder:
        traced = Path(folder, "net.pt")
        example = model.example(1)
        with quiet():
            graph: Any = torch.jit.trace(model.module, example, check_trace=False)  # type: ignore[no-untyped-call]
            graph.save(str(traced))
        _convert(traced, list(example.shape), halved=precision == "float16")
        for part in ("param", "bin"):
            shutil.copyfile(Path(folder, f"net.ncnn.{part}"), file.with_suffix(f".{part}"))


def _convert(traced: Path, shape: list[int], *, halved: bool) -> None:
    """Leaves `.ncnn.param` and `.ncnn.bin` beside the traced net. Raises ConfigError."""
    sizes = ",".join(str(size) for size in shape)
    done = subprocess.run(  # noqa: S603  the converter's own program on a file of our own
        [pnnx.EXEC_PATH, str(traced), f"inputshape=[{sizes}]f32", f"fp16={int(halved)}"],
        cwd=traced.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr + done.stdout
    unknown = sorted({line for line in said.splitlines() if "not supported" in line.lower()})
    if done.returncode or unknown:
        reason = "; ".join(unknown) or f"pnnx ended with {done.returncode}"
        raise ConfigError(f"this model cannot be written for ncnn: {reason[:300]}")
