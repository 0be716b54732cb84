from hypothesis import settings

settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")


def pytest_collection_modifyitems(items):
    """What waits, and what takes long, begins first: the others compute meanwhile, and none is left for the end."""
    items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in ("net", "slow")))
