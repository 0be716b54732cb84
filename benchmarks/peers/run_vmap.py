"""All devices of a round at once through torch.func, no framework: what a batched engine is held
against."""

import job
import numpy as np
import torch
from torch.func import functional_call, grad, vmap

size = job.size()
x, y, x_test, y_test = job.digits()
rows = job.owned(size.devices)
x_all, y_all = x[rows], y[rows]
net = job.perceptron()
weights = {name: weight.detach() for name, weight in net.named_parameters()}


def loss(own: dict[str, torch.Tensor], x_B: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(functional_call(net, own, (x_B,)), y_B)


slope = vmap(grad(loss))
rng = np.random.default_rng(0)
laps, accuracy = job.Laps(), 0.0
for _ in range(size.rounds):
    chosen = torch.from_numpy(rng.choice(size.devices, size.per_round, replace=False))
    x_now, y_now = x_all[chosen], y_all[chosen]
    cohort = {
        name: weight.expand(size.per_round, *weight.shape).clone()
        for name, weight in weights.items()
    }
    for at in range(0, job.OWN, job.BATCH):
        slopes = slope(cohort, x_now[:, at : at + job.BATCH], y_now[:, at : at + job.BATCH])
        for name, own in cohort.items():
            own.sub_(slopes[name], alpha=job.LR)
    weights = {name: own.mean(0) for name, own in cohort.items()}
    with torch.no_grad():
        accuracy = float(
            (functional_call(net, weights, (x_test,)).argmax(1) == y_test).float().mean()
        )
    laps.lap()
laps.report("bare vmap", accuracy, x_all.nbytes + y_all.nbytes)
