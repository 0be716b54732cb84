"""The sessions at one moment, copied into frozen facts: to be called in the loop of the
sessions."""

from collections.abc import Mapping

from ..core.fleet_status import DeviceStatus, FleetStatus
from ..core.types import DeviceId
from .protocol import trunk_of
from .session_server import SessionServer
from .traffic import Traffic


def observe(
    session_server: SessionServer, kinds: Mapping[DeviceId, str], now_s: float
) -> FleetStatus:
    """The devices come in the order of `kinds`."""
    coordinator = session_server.coordinator
    uploads = coordinator.server.uploads
    waves = list(coordinator.waves.values())
    answered = sum(wave.answers for wave in waves)
    devices = [
        _device_status(session_server, device, kind, now_s) for device, kind in kinds.items()
    ]
    return FleetStatus(
        devices=tuple(devices),
        run=trunk_of(coordinator.run),
        round=coordinator.number,
        jobs=sum(len(wave.jobs) for wave in waves),
        answered=answered,
        missed=sum(len(wave.results) for wave in waves) - answered,
        since_s=max((now_s - wave.began_s for wave in waves), default=0.0),
        refused=dict(session_server.refused),
        late=coordinator.reported.late,
        uploading_bytes=uploads.used_bytes,
        room_bytes=uploads.most_bytes,
        uploads_waiting=len(uploads.waiting),
        clashes=dict(coordinator.server.clashes),
    )


def _device_status(
    session_server: SessionServer, device: DeviceId, kind: str, now_s: float
) -> DeviceStatus:
    server = session_server.coordinator.server
    traffic = session_server.traffic.get(device, Traffic())
    state = server.devices.get(device)
    for flow in (traffic.up, traffic.down):
        flow.close(now_s)
    return DeviceStatus(
        id=device,
        kind=kind,
        doing="away" if state is None else server.doing(device, now_s),
        fence=0 if state is None else state.fence,
        silent_s=None if state is None or not state.fence else max(0.0, now_s - state.last_seen_s),
        up_bytes=traffic.up.total_bytes,
        down_bytes=traffic.down.total_bytes,
        up_bps=traffic.up.rate_bps,
        down_bps=traffic.down.rate_bps,
        battery_share=None if state is None else state.battery_share,
        stopped=state is not None and state.stopped,
    )
