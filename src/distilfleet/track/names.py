"""The trackers of experiments that are known, without what any of them loads."""

from typing import Literal, get_args

Name = Literal["tensorboard", "mlflow", "wandb", "trackio"]
NAMES: tuple[str, ...] = get_args(Name)
