"""What a round's record says of devices and jobs."""

from distilfleet.core.types import Missed, Tally, Usage
from distilfleet.recipes.run import _spent


def test_devices_are_counted_once_and_missed_jobs_as_jobs():
    lost = [Missed(job=f"1.{n}", device=device, reason="offline") for n, device in enumerate(("b", "c", "c"))]
    tally = Tally(devices=Usage(), server=Usage(), elapsed_s=1.0, answered=["a", "b", "a", "b", "a"], missed=lost)
    told = _spent(tally)
    assert (told["devices"], told["asked"], told["jobs"], told["missed"]) == (2, 3, 8, 3)
    assert told["missed_jobs"] == [["b", "offline"], ["c", "offline"], ["c", "offline"]]
