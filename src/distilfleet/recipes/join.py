"""Where scripts of before the rooms moved import what a device owns from; the agent itself is
`service.agent`."""

from ..data.naming import Naming
from ..data.own import Own, read


def own_data(path: str, naming: Naming | None = None) -> Own:
    """Read a device's own file as it is: what its classes, columns and units mean, a run says
    (`Own.mapped`)."""
    return read(path, naming or Naming())
