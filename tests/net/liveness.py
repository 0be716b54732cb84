"""The other half of the promise: a run gets on exactly when enough devices answer, and waits when
they do not.

Worlds without the faults of safety: here the whole fleet goes away for ten times the patience and
comes back, the server stands still, or all devices put everything off for a while. Then the run
must be over, and no round of it with fewer devices than its minimum; where nobody was away, nobody
may have been given up. Or the run raises: then the next one must be over, and nothing of what did
not count may be left on a device.
"""

from collections.abc import Callable

from simulated import Parts, World
from simulated_processes import DeviceProcess
from simulated_reference import ROUNDS, BrokenError

PATIENCE_S = 60.0
LONG_S = 10 * PATIENCE_S
SINCE_S = 2.0
FEW_S = 20.0
MIDST_S = 8.0
"""Within which a run in which all goes well has some of its rounds."""


def calm(seed: int, parts: Parts | None) -> World:
    """Nothing is lost, and nobody dies; of its devices a round needs one to all."""
    world = World(seed, parts)
    world.doomed, world.crashes = None, 0.0
    world.network.quiet()
    world.goal, world.minimum = None, world.rng.randint(1, len(world.names))
    return world


def whole_fleet_away(world: World) -> None:
    """Their sessions end, or are left half open."""
    begin_s = world.rng.uniform(SINCE_S, FEW_S)
    for device in world.devices.values():
        world.after(begin_s, lambda device=device: leave(world, device))
        world.after(begin_s + LONG_S + world.rng.uniform(0, FEW_S), device.boot)


def leave(world: World, device: DeviceProcess) -> None:
    device.up = False
    if world.rng.random() < 0.5 and device.connection is not None:
        world.server._close(device.connection)


def server_asleep(world: World) -> None:
    world.after(world.rng.uniform(SINCE_S, FEW_S), lambda: stand_still(world))


def stand_still(world: World) -> None:
    world.asleep_until_s = world.now_s + world.rng.uniform(2, 10) * PATIENCE_S


def all_put_off(world: World) -> None:
    world.closed_until_s = world.rng.uniform(PATIENCE_S, LONG_S)


def run_raises(world: World) -> None:
    """In the middle of a round or between two; devices that are away hear of it when the next run
    has begun."""
    if world.rng.random() < 0.5:
        world.fails_after = world.rng.randint(1, ROUNDS - 1)
    else:
        world.after(world.rng.uniform(0, MIDST_S), world.server.fail_and_begin)
    for device in world.devices.values():
        if world.rng.random() < 0.3:
            world.after(world.rng.uniform(0, MIDST_S), lambda device=device: leave(world, device))
            world.after(MIDST_S + world.rng.uniform(0, FEW_S), device.boot)


SCENES: dict[str, Callable[[World], None]] = {
    "whole fleet away": whole_fleet_away,
    "server asleep": server_asleep,
    "all put off": all_put_off,
    "a run raises": run_raises,
}


def live(seed: int, scene: str, parts: Parts | None = None) -> World:
    """Raises BrokenError."""
    world = calm(seed, parts)
    if scene == "server asleep":
        world.deadline_s = None  # after which a slow device is given up
    if scene == "a run raises":
        for device in world.devices.values():
            device.store = world.parts.store()  # in which the next run goes on from the same worker
    world.schedule = lambda: SCENES[scene](world)
    world.run()
    for number in range(1, ROUNDS + 1):
        check_quorum(world, number)
    if scene == "server asleep" and any(row.reason for row in world.journal.rows().values()):
        raise BrokenError("devices that were there all the time were given up")
    return world


def check_quorum(world: World, number: int) -> None:
    branch, devices = world.asked[number]
    rows = [
        row for row in world.journal.rows().values() if (row.run, row.round) == (branch, number)
    ]
    lost = {row.device for row in rows if row.reason}
    if len(set(devices) - lost) < min(world.minimum, len(devices)):
        raise BrokenError(
            f"round {number} is counted with {len(set(devices) - lost)} devices, of {world.minimum}"
        )
