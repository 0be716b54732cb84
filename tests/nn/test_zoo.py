import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.func import functional_call, grad, stack_module_state, vmap

from distilfleet.core.errors import ConfigError
from distilfleet.nn import zoo
from distilfleet.nn.zoo import WORDS, ZOO, large_for, model, smalls_for

SHAPES = {
    "table": (64,),
    "series": (3, 200),
    "sound": (1, 800),
    "image": (1, 8, 8),
    "photo": (3, 32, 32),
    "picture": (3, 96, 96),
}

PUBLISHED = {
    "vgg19": 143_667_240,
    "mobilenet-v2": 3_504_872,
    "mobilenet-v3-small": 2_542_856,
    "shufflenet-v2-x0.5": 1_366_792,
    "shufflenet-v2-x1.0": 2_278_604,
    "shufflenet-v2-x1.5": 3_503_624,
    "squeezenet-1.1": 1_235_496,
}


def not_a_module(shape, classes):
    return "weights"


def all_names(shape):
    return (*smalls_for(shape), large_for(shape))


def parameters(net):
    return sum(weight.numel() for weight in net.parameters())


# --- nets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_classics_have_their_published_size(name, count):
    with torch.device("meta"):
        assert parameters(model(name, (3, 224, 224), 1000).build(0)) == count


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "vgg19"])
def test_classics_run_and_learn_on_small_images(name):
    net = model(name, (3, 32, 32), 10).build(0)
    net(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters()
    )


@pytest.mark.parametrize("shape", SHAPES.values())
def test_every_kind_of_data_has_small_nets_in_order_and_a_large_one(shape):
    sizes = [parameters(model(name, shape, 10).build(0)) for name in all_names(shape)]
    assert len(sizes) >= 5
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv-xs", (1, 28, 28)),
        ("conv-xs", (3, 32, 32)),
        ("conv-s", (3, 16, 16)),
        ("dsconv-s", (1, 12, 40)),
    ],
)
def test_image_heads_average_windows_of_one_size_that_reach_every_position(name, shape):
    net = model(name, shape, 10).build(0)
    assert not [layer for layer in net.modules() if isinstance(layer, torch.nn.AdaptiveAvgPool2d)]
    features = net[:-1](torch.zeros(2, *shape)).detach().requires_grad_()
    net.head[0](features).sum().backward()
    assert (features.grad > 0).all()


def test_the_smallest_head_on_mnist_averages_the_windows_of_adaptive_pooling():
    features = torch.randn(4, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    pool = model("conv-xs", (1, 28, 28), 10).build(0).head[0]
    torch.testing.assert_close(pool(features), torch.nn.functional.adaptive_avg_pool2d(features, 3))


@pytest.mark.parametrize("shape", [(3, 17), (1, 5), (1, 4, 4), (2, 9, 31), (1, 28, 28)])
def test_odd_sizes_fit(shape):
    for name in all_names(shape):
        net = model(name, shape, 3).build(0).eval()
        assert net(torch.zeros(1, *shape)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "count"),
    {
        "wave-xs": 1346,
        "wave-s": 10_450,
        "wave-m": 27_522,
        "wave-l": 52_274,
        "wave-xl": 469_714,
    }.items(),
)
def test_series_nets_keep_their_size(name, count):
    assert parameters(model(name, SHAPES["series"], 18).build(0)) == count


@pytest.mark.parametrize("name", ["wave-xs", "wave-s", "wave-m", "wave-l", "wave-xl"])
def test_series_nets_see_how_strong_a_signal_is(name):
    """Normalisation alone would not: without biases in the stem, a scaled signal would give the
    same logits."""
    inputs_NCL = torch.randn(2, *SHAPES["series"], generator=torch.Generator().manual_seed(0))
    net = model(name, SHAPES["series"], 4).build(0).eval()
    assert (net(4 * inputs_NCL) - net(inputs_NCL)).abs().max() > 0.1


def test_mlps_flatten_any_sample():
    for shape in SHAPES.values():
        assert model("mlp-s", shape, 4).build(0)(torch.zeros(2, *shape)).shape == (2, 4)


def test_one_net_has_batch_normalisation_and_none_drops_out():
    normed = [
        name
        for name in ZOO
        if name not in (*PUBLISHED, *WORDS) and has(name, torch.nn.modules.batchnorm._BatchNorm)
    ]
    assert normed == ["conv-bn"]
    assert not any(has(name, torch.nn.Dropout) for name in ZOO if name not in (*PUBLISHED, *WORDS))


def has(name, kind):
    of = {"wave": "series", "sound": "sound"}
    shape = SHAPES[of.get(name.partition("-")[0], "image")]
    return any(isinstance(part, kind) for part in model(name, shape, 2).build(0).modules())


def test_stages_have_names():
    for shape in SHAPES.values():
        for name in all_names(shape):
            stages = [stage for stage, _ in model(name, shape, 2).build(0).named_children()]
            middle = [f"stage{number}" for number in range(1, len(stages) - 1)]
            assert stages == ["stem", *middle, "head"]


@pytest.mark.parametrize("shape", [SHAPES["table"], SHAPES["series"], SHAPES["image"]])
def test_nets_train_side_by_side_in_a_cohort(shape):
    inputs_DNX = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    for name in all_names(shape):
        nets = [model(name, shape, 4).build(seed) for seed in (0, 1)]
        weights, buffers = stack_module_state(nets)

        def loss(weights, buffers, inputs_NX, net=nets[0]):
            return functional_call(net, (weights, buffers), (inputs_NX,)).square().sum()

        together = vmap(grad(loss))(weights, buffers, inputs_DNX)
        nets[1](inputs_DNX[1]).square().sum().backward()
        for key, weight in nets[1].named_parameters():
            torch.testing.assert_close(together[key][1], weight.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["conv-xs", "dsconv-s", "conv-s", "conv-m", "conv-l", "conv-xl", "conv-bn"]
)
def test_images_are_learned_within_few_passes(name):
    assert digits_accuracy(name, flat=False, passes=8) > 0.93


@pytest.mark.parametrize("name", ["mlp-xs", "mlp-s", "mlp-m", "mlp-l", "mlp-xl", "perceptron"])
def test_tables_are_learned_within_few_passes(name):
    assert digits_accuracy(name, flat=True, passes=10) > 0.90


def digits_accuracy(name, flat, passes):
    """On the last 360 of scikit-learn's digits, after plain SGD with momentum on a mixed order of
    the others."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    shape = (64,) if flat else (1, 8, 8)
    inputs = torch.as_tensor(images[order] / 16, dtype=torch.float32).reshape(-1, *shape)
    targets = torch.as_tensor(labels[order])
    net = model(name, shape, 10).build(0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(passes):
        for rows in torch.randperm(1437, generator=generator).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs[rows]), targets[rows]).backward()
            optimiser.step()
    with torch.no_grad():
        right = net.eval()(inputs[1437:]).argmax(1) == targets[1437:]
    return right.double().mean().item()


# --- building -------------------------------------------------------------------------------------


def test_same_seed_same_weights_and_the_global_seed_stays():
    before = torch.random.get_rng_state()
    wanted = model("conv-s", (1, 8, 8), 10)
    first, again, other = (wanted.build(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_a_new_model_is_in_training_mode():
    assert model("conv-bn", (1, 8, 8), 10).build(0).training


def test_own_factory_from_a_file_and_from_a_module(tmp_path, monkeypatch):
    code = (
        "import torch\n\ndef net(shape, classes):\n    return torch.nn.Linear(shape[0], classes)\n"
    )
    (tmp_path / "own_nets_of_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in (f"{tmp_path / 'own_nets_of_a_test.py'}:net", "own_nets_of_a_test:net"):
        assert model(name, (7,), 3).build(0)(torch.zeros(1, 7)).shape == (1, 3)


# --- mistakes -------------------------------------------------------------------------------------


def test_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"unknown model 'conv-huge'.*conv-xs.*module:function"):
        model("conv-huge", (1, 8, 8), 10)


def test_wrong_shape_says_what_fits():
    with pytest.raises(
        ConfigError, match=r"conv-s does not take samples of shape \(30,\).*these do: mlp-xs"
    ):
        model("conv-s", (30,), 2)
    with pytest.raises(
        ConfigError, match=r"vgg19 does not take samples of shape \(1, 8, 8\).*conv-xs"
    ):
        model("vgg19", (1, 8, 8), 2)


@pytest.mark.parametrize(("shape", "classes"), [((), 10), ((0, 3), 10), ((5,), 1)])
def test_sizes_that_make_no_sense(shape, classes):
    with pytest.raises(ConfigError, match="at least"):
        model("mlp-s", shape, classes)


def test_no_default_for_videos():
    with pytest.raises(ConfigError, match=r"shape \(3, 4, 5, 6\)"):
        large_for((3, 4, 5, 6))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("no_such_module_here:net", "install what is missing, or name the file"),
        ("nowhere/nets.py:net", "no Python file"),
        ("math:no_such_net", "define no_such_net"),
        (f"{__file__}:not_a_module", "returns a torch.nn.Module"),
        (":net", "unknown model"),
    ],
)
def test_unusable_factories_name_the_remedy(name, remedy):
    with pytest.raises(ConfigError, match=remedy):
        model(name, (4,), 2)


def test_wrong_number_of_classes_is_found_early(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\n\ndef net(shape, classes):\n    return torch.nn.Linear(4, 9)\n"
    )
    with pytest.raises(ConfigError, match=r"two samples give \(2, 9\), not \(2, 3\)"):
        model(f"{tmp_path / 'nets.py'}:net", (4,), 3)


def test_a_file_that_fails_can_be_mended(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import no_such_module_here\n")
    with pytest.raises(ConfigError, match="cannot import"):
        model(f"{path}:plain", (4,), 2)
    path.write_text(
        "import torch\n\ndef plain(shape, classes):\n    return torch.nn.Linear(4, classes)\n"
    )
    zoo.model(f"{path}:plain", (4,), 2)
