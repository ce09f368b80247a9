"""Behavior Sequence Transformer: a CTR model that attends over a user's past items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recgnn.errors import ConfigError, Depth, NonNegative, Share, Size
from recgnn.models.ctr import CTRModel
from recgnn.nn.dice import UnitActivation, deep
from recgnn.nn.embedding import FieldEmbedding
from recgnn.nn.segments import Padded, Segments, append, pack_to_padded, segment_sum
from recgnn.nn.sequence import ItemSide, ItemVectors, TransformerBlock, rows_of_batch, time_buckets

TIME_BUCKETS = 32  # the last begins at 2^31 seconds, 68 years


class BST(CTRModel):
    r"""Behavior Sequence Transformer (`Chen et al., 2019 <https://arxiv.org/abs/1905.06874>`_): self-attention among
    the past items and the target.

    .. math::
        S = [h_1, \dots, h_n, t], \quad
        \hat y(x) = \mathrm{MLP}([e_1, \dots, e_F, \mathrm{pool}(\mathrm{Transformer}(S))])

    with the vectors h of the past items and t of the target item, from the same table, each beside a vector of its
    position :math:`t(v_t) - t(v_i)`, which is 0 for the target (see `TransformerBlock`).

    The paper's sequences have one length, and it joins all outputs (`concat`). Here lengths differ, and the target's
    output alone is the default: it has seen the whole sequence, it does not depend on a longest length, and the last
    block then costs what is linear in the length. It is what other implementations do.

    Args:
        embedding_dim: D, of positions too.
        num_heads: h; divides the width of the sequence, D times the fields of an item and the position.
        num_blocks: how many transformer blocks.
        position: `time`, buckets of log2 of the seconds between (the order where the data know no time); `order`, the
            number of items between; or `none`.
        max_length: past items that have a position of their own in the order, and a place in `concat`: the last ones.
        pooling: of the outputs: the `target`'s, their `mean`, or `concat`.
        hidden_dims: widths of the deep part's layers.
        activation: of the deep part's layers.
        dropout: rate at which units of these layers and of the blocks are dropped in training.
        batch_norm: whether the deep part's layers are batch-normalised.
        layer_norm: whether the blocks have layer normalisation.
        init_std: standard deviation of the embeddings at the start.
        position_std: that of the vectors of positions; `init_std` when None. LayerNorm makes small vectors large, and
            their noise with them, unless positions are larger than the embeddings; then the first epochs learn faster.
    """

    explanation = "how the last block attends from this item to each past one, over all heads; not a share of the score"

    def __init__(
        self, field_dims: Sequence[int], slots: Sequence[int] | None = None, item_slots: Sequence[int] | None = None,
        embedding_dim: Size = 16, num_heads: Depth = 8, num_blocks: Depth = 1,
        position: Literal["time", "order", "none"] = "time", max_length: Size = 50,
        pooling: Literal["target", "mean", "concat"] = "target", hidden_dims: Sequence[Size] = (1024, 512, 256),
        activation: UnitActivation = "leaky_relu", dropout: Share = 0.2, batch_norm: bool = False,
        layer_norm: bool = True, init_std: NonNegative = 1e-2, position_std: NonNegative | None = None,
    ):  # fmt: skip
        super().__init__(field_dims, slots)
        self.position_kind, self.pooling, self.max_length = position, pooling, max_length
        self.embedding = self.table(embedding_dim, init_std)
        self.items = ItemSide(self.slots, item_slots)
        width = (self.items.num_fields + (position != "none")) * embedding_dim
        if width % num_heads:
            raise ConfigError(
                f"BST.num_heads must divide the width of the sequence, found {num_heads} heads and {width} = "
                f"{width // embedding_dim} vectors of embedding_dim {embedding_dim}"
            )
        self.position: nn.Embedding | None = None
        self.uses_times = position == "time"
        if position != "none":
            self.position = nn.Embedding(max(max_length + 1, TIME_BUCKETS * (position == "time")), embedding_dim)
            nn.init.normal_(self.position.weight, std=init_std if position_std is None else position_std)
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads, dropout, layer_norm) for _ in range(num_blocks))
        pooled = width * (max_length + 1) if pooling == "concat" else width
        self.mlp = deep(self.num_fields * embedding_dim + pooled, hidden_dims, activation, dropout, batch_norm)

    @property
    def last_block(self) -> TransformerBlock:
        """Return the last of the blocks."""
        return self.blocks[-1]  # type: ignore[return-value]  # a ModuleList tells no class

    def positions(self, segments: Segments | Padded, gaps: Tensor | None) -> Tensor:
        """Return the position of each past item of `segments`, from its `gaps`, seconds before the target, or from its
        place in the order:
        [N]."""
        if self.position_kind == "time" and gaps is not None:
            return time_buckets(gaps.flatten(), TIME_BUCKETS)
        assert self.position is not None
        return (segments.to_end() + 1).clamp(max=self.position.num_embeddings - 1)

    def before_last(self, vectors: ItemVectors, gaps: Tensor | None) -> tuple[Tensor, Segments | Padded]:
        """Run all blocks but the last: the past items and, behind them, the target, [N + B, d], and their segments;
        `gaps` [N], in seconds."""
        past, target = vectors.history, vectors.target
        if self.position is not None:
            of_past = self.position.weight.index_select(0, self.positions(vectors.segments, gaps))
            past = torch.cat([past, of_past], 1)
            target = torch.cat([target, self.position.weight[:1].expand(target.shape[0], -1)], 1)
        x, segments = append(past, target, vectors.segments)
        for block in self.blocks[:-1]:
            x = block(x, segments)
        return x, segments

    def forward(self, ids: Tensor, values: Tensor | None = None, history: Any = None) -> Tensor:
        vectors = self.items(self.embedding, ids, values, history)
        x, segments = self.before_last(vectors, None if history is None else history.gaps)
        if self.pooling == "target":
            pooled, _ = self.last_block.last(x, segments)
        elif self.pooling == "mean":
            pooled = segment_sum(self.blocks[-1](x, segments), segments) / segments.lengths[:, None]
        else:
            pooled = pack_to_padded(self.blocks[-1](x, segments), segments, self.max_length + 1).flatten(1)
        return self.bias + self.mlp(torch.cat([vectors.fields.flatten(1), pooled], 1)).squeeze(1)

    @torch.no_grad()
    def attention(self, ids: Tensor, values: Tensor | None, history: Any) -> Tensor:
        """Return how the target of each of `ids` [B, S] attends to each past item in the last block, averaged over the
        heads: [N].

        An event's weights and that of the target itself, which is not among them, sum to 1.
        """
        vectors = self.items(self.embedding, ids, values, history)
        _, weights = self.last_block.last(*self.before_last(vectors, history.gaps))
        past = torch.arange(history.ids.shape[0], device=ids.device) + vectors.segments.index
        return weights.mean(1)[past]

    def rows_of_batch(self, batch: Any) -> list[tuple[FieldEmbedding, Tensor]]:
        return [(self.embedding, rows_of_batch(batch.ids, batch.values, batch.history))]
