"""TensorBoard: event files in the run's folder: `tensorboard --logdir runs` shows all runs."""

from collections.abc import Mapping
from typing import Any

from ..record.history import History
from .tracker import settings_of

PACKAGE = "tensorboard"
FOLDER = "tensorboard"


class Events:
    """The event files of one run."""

    id = ""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def send(self, number: int, figures: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self.writer.add_event(Event(step=number, summary=Summary(value=values)))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def opened(history: History, known_id: str) -> Events:
    """Event files are added to a run that has some. The settings are a text beside them."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = history.path / FOLDER
    is_new = not folder.exists()
    writer = EventFileWriter(str(folder))
    if is_new:
        lines = [f"- {name}: `{value}`" for name, value in settings_of(history).items()]
        writer.add_event(Event(step=0, summary=text_pb("settings", "\n".join(lines))))
    return Events(writer)
