"""Flower's simulation engine (Ray), in its own environment."""

import os

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}

from functools import cache
from importlib.metadata import version

import job
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

client, server = ClientApp(), ServerApp()
laps, last = job.Laps(), [0.0]


@cache
def private() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.set_num_threads(1)
    x, y, _, _ = job.digits()
    return x, y, job.owned(int(os.environ["FLEET"]))


@client.train()
def train(message: Message, context: Context) -> Message:
    x, y, rows = private()
    own = rows[int(context.node_config["partition-id"])]
    net = job.perceptron()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    job.learn(net, x[own], y[own])
    answer = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": len(own)}),
    }
    return Message(RecordDict(answer), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    _, _, x_test, y_test = job.digits()

    def judge(number: int, arrays: ArrayRecord) -> MetricRecord:
        if number:
            net = job.perceptron()
            net.load_state_dict(arrays.to_torch_state_dict())
            last[0] = job.accuracy(net, x_test, y_test)
            laps.lap()
        return MetricRecord({"accuracy": last[0]})

    strategy = FedAvg(
        fraction_train=size.per_round / size.devices,
        fraction_evaluate=0.0,
        min_train_nodes=size.per_round,
        min_available_nodes=size.per_round,
    )
    start = ArrayRecord(job.perceptron().state_dict())
    strategy.start(
        grid=grid, initial_arrays=start, num_rounds=size.rounds, evaluate_fn=judge, timeout=3600
    )


if __name__ == "__main__":
    size = job.size()
    os.environ["FLEET"] = str(size.devices)
    run_simulation(
        server,
        client,
        size.devices,
        backend_config={"client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}},
    )
    laps.report(
        f"Flower {version('flwr')}", last[0], job.SAMPLES * 65 * 4 + size.devices * job.OWN * 8
    )
