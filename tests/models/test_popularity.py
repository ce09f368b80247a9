"""Popularity against counts, and what all models that score histories share."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn.errors import ConfigError
from recgnn.models import EASE, GraphFilter, ItemKNN, Popularity
from recgnn.nn.folding import Entries


def test_everybody_is_shown_what_most_have(small) -> None:
    model = Popularity(small.users, small.items)
    model.set_graph(small.edges)
    model.solve()
    expected = torch.tensor([float((small.edges[1] == i).sum()) for i in range(small.items)])
    scores = model.score(torch.tensor([3, 8]))
    assert_close(scores, torch.stack([expected, expected]))
    scores[0] = -1  # a new tensor
    assert_close(model.score(torch.tensor([3]))[0], expected)
    with pytest.raises(ConfigError, match="no item is similar"):
        model.similarity(torch.tensor([0]))
    assert model.new_rows("item", Entries(*torch.zeros(3, 0, dtype=torch.long), 0)) == {}


@pytest.mark.parametrize("kind", [EASE, GraphFilter, ItemKNN, Popularity])
def test_a_new_user_is_scored_as_one_of_training_with_the_same_items(kind, small) -> None:
    model = kind(small.users, small.items)
    model.l2 = 2.0
    model.set_graph(small.edges)
    model.solve()
    users = torch.arange(small.users)
    place, items = small.edges
    scores = model.score(users)
    assert torch.equal(model.score_history(place, items, torch.ones(len(items)), small.users), scores)
    dense = torch.zeros(small.users, small.items)
    dense[place, items] = 1
    assert_close(model(dense), scores)  # what is exported
    assert_close(model.score_pairs(torch.tensor([5, 0, 5]), torch.tensor([1, 2, 3])), scores[[5, 0, 5], [1, 2, 3]])
    if kind is not Popularity:
        alone = model.similarity(torch.tensor([4]))
        assert_close(alone, model(torch.eye(small.items)[[4]]))
        with pytest.raises(ConfigError, match=f"{kind.__name__} has weights between the items"):
            model.new_rows("item", Entries(place, items, dense[0], 1))
