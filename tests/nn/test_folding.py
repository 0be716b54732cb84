import torch
from torch import nn

from distilfleet.nn import zoo
from distilfleet.nn.folding import folded


def learnt(net):
    """With statistics and scales that are not those of a new net."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        assert name
    return net.eval()


def test_batch_norms_behind_convolutions_are_gone_and_the_answers_are_the_same():
    net = learnt(zoo.model("conv-bn", (1, 8, 8), 4).build(seed=0))
    samples = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    before = net(samples)
    after = folded(net)
    assert not [layer for layer in after.modules() if isinstance(layer, nn.BatchNorm2d)]
    torch.testing.assert_close(after(samples), before, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_folded_stays():
    lone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.BatchNorm2d(2)).eval()
    unkept = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)).eval()
    for net in (lone, unkept):
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in folded(net).modules())
