import numpy as np
import pytest
import torch

from distilfleet.nn import candidates, split
from distilfleet.nn.candidates import Candidates
from distilfleet.nn.language import LanguageModel


@pytest.fixture(scope="module")
def model():
    return LanguageModel(name="llama:64x3", vocabulary=50, context=16).build(3).eval()


def plain(model, cut, ids):
    """The front's last position, without a cache."""
    mask = torch.ones((1, len(ids)), dtype=torch.long)
    rows = split.token_table(model).detach()[torch.tensor(ids)][None]
    with torch.no_grad():
        return split.Front(model, cut)(rows, mask, split.positions(mask))[0, -1].numpy()


@pytest.mark.parametrize("cut", [1, 2])
def test_every_candidate_gives_what_it_would_give_alone(model, cut, monkeypatch):
    monkeypatch.setattr(candidates, "SIDE_BY_SIDE", 20)  # several passes for one position
    step = Candidates(split.Front(model, cut), split.token_table(model).detach().numpy())
    # goes on, leaps, turns back, starts anew
    for text in ([], [4], [4, 9], [4, 9, 9, 1], [7, 9], []):
        tried = step(np.array(text, np.int64), np.arange(50))
        alone = np.stack([plain(model, cut, [*text, one]) for one in range(50)])
        np.testing.assert_allclose(tried, alone, atol=1e-5)
