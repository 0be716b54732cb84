"""A device that runs only the embedding modules needs neither torch nor the table in memory."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys

class NoTraining:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "peft", "sklearn", "scipy"}:
            raise ModuleNotFoundError(f"no {name} on this device", name=name)

sys.meta_path.insert(0, NoTraining())
from pathlib import Path
import numpy as np
from distilfleet.core.prefix import prefixed, under
from distilfleet.core.types import Dataset
from distilfleet.methods.splitkd import codec
from distilfleet.methods.splitkd.device import SplitWorker
from distilfleet.methods.splitkd.settings import SplitSettings
from distilfleet.methods.splitkd.rows import MappedTable
from small_split import BOARD, begun, job, profile

VOCABULARY, TEACHER, STUDENT, ROWS, STEPS = 128_256, 4096, 2048, 700, 100
rng = np.random.default_rng(0)
ids = np.sort(rng.choice(VOCABULARY, ROWS, replace=False))
table = np.memmap(sys.argv[1], np.float16, "w+", shape=(VOCABULARY, TEACHER))
for at in range(0, VOCABULARY, 1002):
    table[at : at + 1002] = 0.02
table[ids] = rng.standard_normal((ROWS, TEACHER)).astype(np.float16)
table.flush()
del table
rows = np.minimum(rng.pareto(0.7, (64, 512)) * 20, ROWS - 1).astype(int)
data = Dataset(ids[rows].astype(np.int32))
split = SplitSettings(
    teacher=profile(TEACHER, 32, VOCABULARY),
    student=profile(STUDENT, 16, VOCABULARY),
    batch=4,
    steps=STEPS,
    micro_batches=4,
    context=512,
    tables="file",
)
mapped = MappedTable(Path(sys.argv[1]), TEACHER)
worker = SplitWorker(
    device=BOARD, data=data, split=split, seed=0, front_of=None, teacher_table=mapped
)
begun(worker, np.zeros((len(worker.ids), STUDENT)))
back = {}
for slot in range(STEPS * 4):
    sent = worker.handle(job("step", slot=slot, need=[True], apply=slot % 4 == 0, **back))
    gradient = rng.standard_normal(codec.decode(under("student", sent)).shape, dtype=np.float32)
    back = {"back_slot": slot, "share": 1e-3, **prefixed("back", codec.encode(gradient, 8))}
worker.handle(job("end", **back))
assert not {"torch", "transformers", "peft"} & set(sys.modules)
resident, own, name = 0, 0, ""
for line in Path("/proc/self/smaps").read_text().splitlines():
    first, *rest = line.split()
    if not first.endswith(":"):
        name = rest[-1]
    elif first == "Rss:" and name == sys.argv[1]:
        resident += int(rest[0])
    elif first == "Private_Dirty:" or (first == "Private_Clean:" and not name.startswith("/")):
        own += int(rest[0])
print(own, resident)
"""
MOST_KILOBYTES = 64 * 1024


def test_hundred_steps_with_a_table_of_a_gigabyte_take_little_memory(tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "table.f16")],
        capture_output=True,
        text=True,
        cwd=here,
        env={"PYTHONPATH": f"{here.parents[2] / 'src'}:{here}", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    own, resident = map(int, done.stdout.split())
    assert own < MOST_KILOBYTES, "without clean pages of mapped files, such as libraries"
    assert resident == 0, "pages of the table are given back"
    (tmp_path / "table.f16").unlink()
