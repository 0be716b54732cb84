"""pfl (Apple's pfl-research), in its own environment."""

from importlib.metadata import version

import job
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

size = job.size()
np.random.seed(0)  # what pfl draws from
x, y, x_test, y_test = job.digits()
rows = job.owned(size.devices)
laps, last = job.Laps(), [0.0]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = job.perceptron()

    def loss(self, x, y, eval=False):  # noqa: A002
        return torch.nn.functional.cross_entropy(self.inner(x), y)

    @torch.no_grad()
    def metrics(self, x, y, eval=True):  # noqa: A002
        return {"accuracy": Weighted(float((self.inner(x).argmax(1) == y).sum()), len(y))}


class AfterRound(TrainingProcessCallback):
    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        last[0] = job.accuracy(net.inner, x_test, y_test)
        laps.lap()
        return False, Metrics()


def data_of(device: int) -> Dataset:
    return Dataset([x[rows[device]], y[rows[device]]], user_id=str(device))


net = Net()
model = PyTorchModel(
    net,
    local_optimizer_create=torch.optim.SGD,
    central_optimizer=torch.optim.SGD(net.parameters(), 1.0),
)
fleet = FederatedDataset(data_of, get_user_sampler("random", list(range(size.devices))))
FederatedAveraging().run(
    algorithm_params=NNAlgorithmParams(
        central_num_iterations=size.rounds,
        evaluation_frequency=10**9,
        train_cohort_size=size.per_round,
        val_cohort_size=0,
    ),
    backend=SimulatedBackend(
        training_data=fleet, val_data=fleet, postprocessors=[WeightByDatapoints()]
    ),
    model=model,
    model_train_params=NNTrainHyperParams(
        local_learning_rate=job.LR, local_num_epochs=1, local_batch_size=job.BATCH
    ),
    model_eval_params=NNEvalHyperParams(local_batch_size=None),
    callbacks=[AfterRound()],
)
laps.report(f"pfl {version('pfl')}", last[0], x.nbytes + rows.nbytes)
