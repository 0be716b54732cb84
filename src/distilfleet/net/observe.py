"""A hub at one moment, copied into frozen facts, to be called in the hub's loop."""

from collections.abc import Mapping

from ..core.types import DeviceId
from ..core.watch import Moment, Seen
from .hub import SessionServer
from .protocol import trunk_of
from .traffic import Traffic


def look(hub: SessionServer, kinds: Mapping[DeviceId, str], now_s: float) -> Moment:
    """The devices come in the order of `kinds`."""
    desk, room = hub.desk, hub.desk.server.room
    waves = list(desk.waves.values())
    answered = sum(wave.answers for wave in waves)
    return Moment(
        devices=tuple(_seen(hub, device, kind, now_s) for device, kind in kinds.items()),
        run=trunk_of(desk.run),
        round=desk.number,
        jobs=sum(len(wave.wave.jobs) for wave in waves),
        answered=answered,
        missed=sum(len(wave.results) for wave in waves) - answered,
        since_s=max((now_s - wave.began_s for wave in waves), default=0.0),
        refused=dict(hub.refused),
        late=desk.spent.late,
        uploading_bytes=room.used_bytes,
        room_bytes=room.most_bytes,
        in_line=len(room.waiting),
        clashes=dict(desk.server.clashes),
    )


def _seen(hub: SessionServer, device: DeviceId, kind: str, now_s: float) -> Seen:
    server, traffic = hub.desk.server, hub.traffic.get(device, Traffic())
    seat = server.seats.get(device)
    for flow in (traffic.up, traffic.down):
        flow.close(now_s)
    return Seen(
        id=device,
        kind=kind,
        doing="away" if seat is None else server.doing(device, now_s),
        fence=0 if seat is None else seat.fence,
        silent_s=None if seat is None or not seat.fence else max(0.0, now_s - seat.heard_s),
        up_bytes=traffic.up.total_bytes,
        down_bytes=traffic.down.total_bytes,
        up_bps=traffic.up.rate_bps,
        down_bps=traffic.down.rate_bps,
        battery_share=None if seat is None else seat.battery_share,
        stopped=seat is not None and seat.stopped,
    )
