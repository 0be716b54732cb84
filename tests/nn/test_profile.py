import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distilfleet.nn import zoo
from distilfleet.nn.profile import _recurrent_bytes, profile, savings, training_memory_bytes
from distilfleet.nn.zoo import Model, model

FEATURES, HIDDEN, CLASSES = 30, 64, 5


def test_perceptron_is_what_a_hand_computes():
    facts = profile(model("perceptron", (FEATURES,), CLASSES))
    hidden, head = facts.layers
    assert facts.parameters == FEATURES * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
    assert facts.weight_bytes == 4 * facts.parameters
    assert facts.forward_flops == 2 * (FEATURES * HIDDEN + HIDDEN * CLASSES)
    # Backward: gradients of both weights, and of the hidden layer; none of the input.
    assert facts.train_flops == 2 * facts.forward_flops + 2 * HIDDEN * CLASSES
    assert facts.activation_bytes == 4 * (FEATURES + HIDDEN)
    assert (hidden.forward_flops, hidden.output_bytes) == (2 * FEATURES * HIDDEN, 4 * HIDDEN)
    assert (head.forward_flops, head.weight_bytes) == (
        2 * HIDDEN * CLASSES,
        4 * (HIDDEN + 1) * CLASSES,
    )


@pytest.mark.parametrize(("pixels", "flops_percent"), [(32, 98.58), (64, 98.50), (224, 98.47)])
def test_mobilenet_v2_saves_what_koala_reports(pixels, flops_percent):
    large, small = (model(name, (3, pixels, pixels), 1000) for name in ("vgg19", "mobilenet-v2"))
    saved = savings(large, small)
    assert 100 * saved.storage_saved == pytest.approx(97.56, abs=0.005)
    assert 100 * saved.flops_saved == pytest.approx(flops_percent, abs=0.005)
    assert (saved.small, saved.large) == ("mobilenet-v2", "vgg19")


@pytest.mark.parametrize(
    "name", ["conv-bn", "dsconv-s", "conv-xl", "mobilenet-v3-small", "shufflenet-v2-x0.5"]
)
def test_layers_add_up_to_the_model(name):
    facts = profile(model(name, (3, 32, 32), 10))
    assert sum(layer.forward_flops for layer in facts.layers) == facts.forward_flops
    assert sum(layer.weight_bytes for layer in facts.layers) == facts.weight_bytes


@pytest.mark.parametrize("name", ["conv-l", "dsconv-s", "mobilenet-v2", "shufflenet-v2-x1.0"])
def test_backward_takes_less_than_twice_the_forward_pass_also_when_grouped(name):
    facts = profile(model(name, (3, 32, 32), 10))
    first = facts.layers[0].forward_flops
    assert facts.train_flops == 3 * facts.forward_flops - first


def test_depthwise_backward_is_not_taken_for_dense():
    facts = profile(Model(name=f"{__file__}:depthwise", shape=(64, 8, 8), classes=2))
    convolution = facts.layers[1].forward_flops
    assert convolution == 2 * 9 * 64 * 8 * 8
    assert facts.train_flops == 3 * facts.forward_flops - facts.layers[0].forward_flops


@pytest.mark.parametrize(
    ("steps", "inputs", "hidden"), [(20, 8, 32), (20, 64, 32), (50, 6, 128), (100, 3, 64)]
)
def test_an_lstm_keeps_its_gates_for_the_way_back(steps, inputs, hidden):
    """As much as torch itself lays aside, which a trace without numbers does not see."""
    spaces = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, facts=(), rest=None):
            given = operation(*facts, **(rest or {}))
            if operation is torch.ops.aten.mkldnn_rnn_layer.default:
                spaces.append(given[3].nbytes)
            return given

    batch = 8
    with Watching():
        torch.nn.LSTM(inputs, hidden, batch_first=True)(torch.zeros(batch, steps, inputs))
    if not spaces:
        pytest.skip("this build of torch has no oneDNN, whose LSTM this is about")
    counted = _recurrent_bytes((steps, batch, inputs), (4 * hidden, inputs))
    assert sum(spaces) <= 1.02 * counted
    assert counted <= 1.25 * sum(spaces)
    facts = profile(Model(name=f"{__file__}:recurrent", shape=(steps, inputs), classes=hidden))
    assert facts.activation_bytes >= counted // batch


def recurrent(shape, classes):
    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.LSTM(shape[1], classes, batch_first=True)

        def forward(self, samples):
            return self.inner(samples)[0][:, -1]

    return Last()


def depthwise(shape, classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(64, 64, 1),
        torch.nn.Conv2d(64, 64, 3, padding=1, groups=64),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 64, classes),
    )


def test_activations_follow_the_batch_and_weights_do_not():
    facts = profile(model("conv-m", (1, 28, 28), 10))
    memory_bytes = [training_memory_bytes(facts, batch) for batch in (1, 2, 32)]
    assert memory_bytes == sorted(set(memory_bytes))
    assert memory_bytes[1] - memory_bytes[0] == facts.activation_bytes
    assert training_memory_bytes(facts, 0) == 3 * facts.weight_bytes


def test_saved_activations_agree_with_a_real_pass():
    small = model("conv-m", (1, 28, 28), 10)
    net, inputs_NCHW = small.build(0), torch.zeros(4, 1, 28, 28)
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits_NK = net(inputs_NCHW)
    seen_bytes = sum(size for pointer, size in saved.items() if pointer not in weights)
    assert logits_NK.shape == (4, 10)
    assert 4 * profile(small).activation_bytes == pytest.approx(seen_bytes, rel=0.01)


def test_small_nets_take_less_than_the_large_one():
    for shape in [(30,), (3, 200), (1, 8, 8), (3, 32, 32), (3, 96, 96)]:
        large = profile(model(zoo.large_for(shape), shape, 10))
        for name in zoo.smalls_for(shape):
            small = profile(model(name, shape, 10))
            assert small.parameters < large.parameters / 4
            assert small.train_flops < large.train_flops / 2


def test_buffers_count_as_weights_to_carry():
    with_buffers = profile(model("conv-bn", (1, 28, 28), 10))
    assert with_buffers.weight_bytes > 4 * with_buffers.parameters


def test_a_model_is_traced_once():
    small = model("mlp-s", (FEATURES,), CLASSES)
    assert profile(small) is profile(model("mlp-s", [FEATURES], CLASSES))
