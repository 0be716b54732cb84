"""What `distilfleet --help` prints: the verbs and the recipes."""

from collections.abc import Mapping
from textwrap import fill

PURPOSE = (
    "teach a large model with a fleet of small devices, "
    "and give every device a small model in return."
)
COMMANDS = {
    "run RECIPE [--flag value ...] [--out DIR]": "train on a simulated fleet",
    "run RECIPE --seeds 1 2 3 [--flag value ...]": "the same under several seeds, then compared",
    "run --config DIR/run.toml [--flag value ...]": "the same as a recorded run, save these flags",
    "run --resume DIR [--rounds N]": "go on with an interrupted run, or add rounds",
    "plan RECIPE [--flag value ...] [--json]": "who would cut where, what it costs, "
    "and the proven bound",
    "compare DIR [DIR ...] [--out FILE]": "runs side by side: table and page",
    "track DIR [--to NAME ...] [--follow]": "its rounds to TensorBoard, MLflow, W&B or Trackio",
    "predict MODEL FILE [--out FILE]": "classes with probabilities, or how a text goes on",
    "audit DIR [--json]": "what a curious server could recover from what travelled",
    "export MODEL --to RUNTIME [--int8 | --fp16]": "a trained model as a file for boards, "
    "judged in the runtime that will run it",
    "devices [--json]": "the catalogue of devices and servers",
    "calibrate [--kind NAME] [--out FILE]": "measure this board, half a minute: "
    "its own catalogue row",
}
FLEET_COMMANDS = {
    "serve fleet.toml": "the server",
    "enrol create --device NAME": "a one-time token for a device; `enrol deny` shuts it out",
    "agent --token TOKEN --data FILE": "on the device: enrol, then serve jobs until stopped",
    "run RECIPE --fleet fleet.toml": "hand a run to the server and follow it",
    "runs [stop NAME | resume NAME]": "runs of the server; stop one after its round, "
    "or let it go on",
    "backup DIR": "a copy of the server's folder, while it runs",
    "split DATA --devices N --out DIR": "a simulation's partition, one file per device",
}
USAGE = """\
distilfleet: {purpose}

{commands}

A real fleet:
{fleet_commands}

{recipes}
`distilfleet run RECIPE --help` lists a recipe's flags. First try: distilfleet run koala
"""
WIDTH = 120


def usage() -> str:
    """The text, with the names of the recipes that ship."""
    from ..recipes.shipped import SHIPPED

    recipes = f"Recipes: {', '.join(SHIPPED)}, or your own: path/to/file.py:function."
    return USAGE.format(
        purpose=PURPOSE,
        commands=_columns(COMMANDS),
        fleet_commands=_columns(FLEET_COMMANDS),
        recipes=fill(recipes, WIDTH),
    )


def _columns(commands: Mapping[str, str]) -> str:
    """A line for each command, with what it does."""
    return "\n".join(f"  distilfleet {command:<43} {what}" for command, what in commands.items())
