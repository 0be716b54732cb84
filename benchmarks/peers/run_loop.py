"""One process, one device after the other, no framework."""

import copy

import job
import numpy as np
import torch

size = job.size()
x, y, x_test, y_test = job.digits()
rows = job.owned(size.devices)
net = job.perceptron()
rng = np.random.default_rng(0)
laps, accuracy = job.Laps(), 0.0
for _ in range(size.rounds):
    total = [torch.zeros_like(weight) for weight in net.parameters()]
    for device in rng.choice(size.devices, size.per_round, replace=False):
        own = copy.deepcopy(net)
        job.learn(own, x[rows[device]], y[rows[device]])
        for mean, weight in zip(total, own.parameters(), strict=True):
            mean.add_(weight.detach(), alpha=1 / size.per_round)
    with torch.no_grad():
        for weight, mean in zip(net.parameters(), total, strict=True):
            weight.copy_(mean)
    accuracy = job.accuracy(net, x_test, y_test)
    laps.lap()
laps.report("bare loop", accuracy, x.nbytes + rows.nbytes)
