import os
import signal

from hypothesis import settings

# before torch is loaded: threads of several test processes would spend the cores on waiting for
# each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that starts the suite in the background makes it, and all that it starts, deaf to Ctrl-C;
tests send it."""
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")


def pytest_collection_modifyitems(items):
    """What waits, and what takes long, begins first: the others compute meanwhile, and none is left
    for the end."""
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("net", "slow")))
