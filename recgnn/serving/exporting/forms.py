"""Models as plain functions of dense tensors, for exporters: what autograd functions and packed rows stand for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.errors import ConfigError
from recgnn.models import BST, CDAE, DAE, DIN, FFM, MF
from recgnn.models.autoencoder import RowRecommender
from recgnn.models.base import Recommender
from recgnn.models.bst import TIME_BUCKETS
from recgnn.models.ctr import CTRModel
from recgnn.models.embedding import EmbeddingRecommender
from recgnn.nn.sequence import TransformerBlock


class EventForm(nn.Module):
    """Probabilities (or numbers) of events, by the model's own `forward`.

    Shapes: ids [B, S], values [B, S]; [B].
    """

    def __init__(self, model: CTRModel):
        super().__init__()
        self.model = model

    def logits(self, ids: Tensor, values: Tensor) -> Tensor:
        return self.model(ids, values)

    def answer(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.model.task == "clicks" else logits

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        return self.answer(self.logits(ids, values))


class FFMForm(EventForm):
    """FFM without its autograd function, which changes tensors in place (see `pairs_by_field`)."""

    def logits(self, ids: Tensor, values: Tensor) -> Tensor:
        model, slots = self.model, self.model.sum_fields.slots
        vectors = F.embedding(ids, model.embedding.weight) * values[..., None]
        vectors = vectors.unflatten(2, (model.num_fields, -1))  # [B, S, F, k]
        across = model.sum_fields(vectors)
        twice = (across * across.transpose(1, 2)).sum((1, 2, 3))
        own = vectors[:, range(len(model.slots)), slots].square().sum((1, 2))
        return model.first_order(ids, values) + 0.5 * (twice - own)


class SequenceForm(EventForm):
    """Events with padded histories, which stand on the left of their rows, oldest first.

    Shapes: ids [B, S], values [B, S], history_ids [B, L, H], history_values [B, L, H], history_lengths [B],
    history_gaps [B, L] seconds or None; [B].
    """

    def vectors(self, ids: Tensor, values: Tensor, past_ids: Tensor, past_values: Tensor) -> tuple[Tensor, ...]:
        """Fields side by side [B, F D], past items [B, L, E] and target items [B, E]."""
        items, table = self.model.items, self.model.embedding.weight
        x = F.embedding(ids, table) * values[..., None]
        past = F.embedding(past_ids, table) * past_values[..., None]
        past = items.sum_item(past.flatten(0, 1)).flatten(1)
        target = items.sum_item(x.index_select(1, items.item_slots)).flatten(1)
        return items.sum_event(x).flatten(1), past.view(*past_ids.shape[:2], target.shape[1]), target

    def forward(
        self,
        ids: Tensor,
        values: Tensor,
        history_ids: Tensor,
        history_values: Tensor,
        history_lengths: Tensor,
        history_gaps: Tensor | None = None,
    ) -> Tensor:
        fields, past, target = self.vectors(ids, values, history_ids, history_values)
        interest = self.interest(past, target, history_lengths, history_gaps)
        logits = self.model.bias + self.model.mlp(torch.cat([fields, interest], 1)).squeeze(1)
        return self.answer(logits)

    def interest(self, past: Tensor, target: Tensor, lengths: Tensor, gaps: Tensor | None) -> Tensor:
        """What the past says, behind the fields: [B, width]."""
        raise NotImplementedError


def there(past: Tensor, lengths: Tensor) -> Tensor:
    """Which places of past [B, L, E] hold an item: [B, L]."""
    return torch.arange(past.shape[1], device=past.device) < lengths[:, None]


class DINForm(SequenceForm):
    """DIN: the weighted sum of the past items, [B, E]."""

    def interest(self, past: Tensor, target: Tensor, lengths: Tensor, gaps: Tensor | None) -> Tensor:
        mask = there(past, lengths)
        weights = mask.to(past.dtype)
        if self.model.unit is not None:
            scores = self.scores(past, target)
            if self.model.attention_kind == "softmax":
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(1)
            weights = scores * weights
        return (weights[..., None] * past).sum(1)

    def scores(self, past: Tensor, target: Tensor) -> Tensor:
        """The activation unit: [B, L]."""
        own = target[:, None].expand_as(past)
        x = torch.cat([past, own, past - own, past * own], 2)
        return self.model.unit.mlp(x.flatten(0, 1)).view(past.shape[:2])


class BSTForm(SequenceForm):
    """BST: the pooled outputs of the transformer; the target stands behind the last place of the past."""

    def __init__(self, model: BST):
        super().__init__(model)
        powers = 2.0 ** torch.arange(1, TIME_BUCKETS)
        self.register_buffer("powers", powers, persistent=False)

    def interest(self, past: Tensor, target: Tensor, lengths: Tensor, gaps: Tensor | None) -> Tensor:
        model, mask = self.model, there(past, lengths)
        if model.position is not None:
            table = model.position.weight
            past = torch.cat([past, F.embedding(self.positions(mask, lengths, gaps), table)], 2)
            target = torch.cat([target, table[:1].expand(target.shape[0], -1)], 1)
        x = torch.cat([past, target[:, None]], 1)
        mask = F.pad(mask, (0, 1), value=True)
        for block in model.blocks[:-1]:
            x = transformed(block, x, x, mask)
        if model.pooling == "target":
            return transformed(model.blocks[-1], x[:, -1:], x, mask).squeeze(1)
        x = transformed(model.blocks[-1], x, x, mask)
        if model.pooling == "mean":
            return (x * mask[..., None]).sum(1) / (lengths + 1)[:, None]
        place = lengths[:, None] - model.max_length + torch.arange(model.max_length, device=x.device)
        last = x.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, x.shape[2])) * (place >= 0)[..., None]
        return torch.cat([last, x[:, -1:]], 1).flatten(1)

    def positions(self, mask: Tensor, lengths: Tensor, gaps: Tensor | None) -> Tensor:
        """The row of the table of positions of each past item (see `time_buckets`): [B, L]."""
        if gaps is not None:
            return (gaps.clamp(min=0)[..., None] + 1 >= self.powers).sum(-1)
        order = lengths[:, None] - torch.arange(mask.shape[1], device=mask.device)
        return order.clamp(0, self.model.position.num_embeddings - 1)


def transformed(block: TransformerBlock, x: Tensor, sequence: Tensor, mask: Tensor) -> Tensor:
    """The block's outputs for x [B, Q, d], which attend to the sequence [B, K, d] where mask [B, K]: [B, Q, d]."""
    of_query, of_others = block.qkv.weight.split([block.dim, 2 * block.dim])
    query = F.linear(x, of_query).unflatten(2, (block.num_heads, -1)).transpose(1, 2)  # [B, h, Q, d/h]
    others = F.linear(sequence, of_others).unflatten(2, (2, block.num_heads, -1))
    key, value = others.permute(2, 0, 3, 1, 4).unbind(0)
    scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(3)
    return block.rest(x, (weights @ value).transpose(1, 2).flatten(2))


class UserForm(nn.Module):
    """Scores of all items by inner product: users [B]; [B, I]."""

    def __init__(self, user: Tensor, item: Tensor):
        super().__init__()
        self.register_buffer("user", user)
        self.register_buffer("item", item)

    def forward(self, users: Tensor) -> Tensor:
        return F.embedding(users, self.user) @ self.item.T


class RowForm(nn.Module):
    """An autoencoder's scores of rows: of users [B, I] by user, of items [B, U] by item; like the rows."""

    def __init__(self, model: RowRecommender):
        super().__init__()
        self.model = model

    def first(self, rows: Tensor) -> Tensor:
        """The first layer's sums: [B, D_1]."""
        if isinstance(self.model, DAE) and self.model.normalise:
            rows = rows / (rows != 0).sum(1, keepdim=True).clamp(min=1).sqrt()
        return rows @ self.model.first.weight + self.model.first.bias

    def forward(self, rows: Tensor) -> Tensor:
        return self.model.finish(self.model.decode(self.model.encode(None, self.first(rows))))


class UserRowForm(RowForm):
    """CDAE's scores of users' rows: rows [B, I], users [B], -1 for somebody who was not in train; [B, I]."""

    def forward(self, rows: Tensor, users: Tensor) -> Tensor:
        node = F.embedding(users.clamp(min=0), self.model.user_node.weight) * (users >= 0)[:, None]
        return self.model.finish(self.model.decode(self.model.encode(None, self.first(rows) + node)))


def inner_product(model: Recommender) -> tuple[Tensor, Tensor, int]:
    """Vectors whose inner products are the scores, and how many of their dimensions are the representations.

    Behind the representations stand biases and ones: an autoencoder's bias, the mean rating of MF. An autoencoder's
    scores are those before its last activation.

    Shapes: users [U, D'], items [I, D'].

    Raises:
        ConfigError: for a model that has no representations.
    """
    if not hasattr(model, "embeddings"):
        raise ConfigError(f"{type(model).__name__} has no representations of users and items to export")
    user, item = model.embeddings()
    dim = user.shape[1]
    one_of_user, one_of_item = torch.ones_like(user[:, :1]), torch.ones_like(item[:, :1])
    if isinstance(model, RowRecommender):
        bias = model.decoder_bias.detach()[:, None]
        user = torch.cat([user, one_of_user if model.by == "user" else bias], 1)
        item = torch.cat([item, bias if model.by == "user" else one_of_item], 1)
    elif isinstance(model, MF) and model.loss == "mse":
        user = torch.cat([user, one_of_user], 1)
        item = torch.cat([item, one_of_item * model.evaluation.mean], 1)
    return user.detach().contiguous(), item.detach().contiguous(), dim


def form_of(model: CTRModel | Recommender) -> nn.Module:
    """The plain form of a model, with its weights.

    Raises:
        ConfigError: for a recommender that is neither by inner product nor an autoencoder.
    """
    if isinstance(model, CTRModel):
        kinds = {DIN: DINForm, BST: BSTForm, FFM: FFMForm}
        found = next((form for kind, form in kinds.items() if isinstance(model, kind)), EventForm)(model)
    elif isinstance(model, RowRecommender):
        found = (UserRowForm if isinstance(model, CDAE) else RowForm)(model)
    elif isinstance(model, EmbeddingRecommender):
        found = UserForm(*inner_product(model)[:2])
    else:
        raise ConfigError(f"{type(model).__name__} cannot be exported; export knows models by inner product, "
                          "autoencoders and CTR models")  # fmt: skip
    return found.eval()
