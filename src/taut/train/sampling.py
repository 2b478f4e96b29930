"""Answers drawn in a batch that rows leave when they are done, for a CPU.

transformers' ``generate`` computes every row until the longest is done, and copies all keys and values anew for every
token. For 64 answers of a model of two million parameters, on average a third as long as the longest, leaving and
writing in place took 10 ms a token on one core where ``generate`` took 33. The distribution is the same; which
answers a seed gives is not.

Rows may bring numbers of their own to be drawn by: then an answer does not depend on which others share its batch, and
two models that differ little answer alike, so that their answers can be compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import Cache, DynamicLayer

from taut.engines._batch import can_batch

ROOM_TOKENS = 128
"""By how much the memory for keys and values grows at a time."""
LEAVE_SHARE = 0.15
"""Rows that are done leave once they are this share: moving the others has its price."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, written into room that is there already."""

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Put new ones behind those that are there, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.stores: list[Any] = [None, None]
            self.length = 0
        end = self.length + key_states.shape[-2]
        for index, states in enumerate((key_states, value_states)):
            self._make_room(index, states, end)
            self.stores[index][..., self.length : end, :] = states
        self.length = end
        self._show()
        return self.keys, self.values

    def keep(self, rows: Any) -> None:
        """Forget all other rows."""
        self.stores = [store[rows] for store in self.stores]
        self._show()

    def _make_room(self, index: int, like: Any, end: int) -> None:
        before = self.stores[index]
        if before is not None and end <= before.shape[-2]:
            return
        store = like.new_empty(*like.shape[:-2], end + ROOM_TOKENS, like.shape[-1])
        if before is not None:
            store[..., : self.length, :] = before[..., : self.length, :]
        self.stores[index] = store

    def _show(self) -> None:
        self.keys, self.values = (store[..., : self.length, :] for store in self.stores)


def fits(model: Any) -> bool:
    """Whether `sample` is the better way: on a CPU, for a model that remembers keys and values and nothing else."""
    return bool(model.device.type == "cpu" and can_batch(model))


def chances(seeds: Sequence[int], most: int) -> Any:
    """Numbers in [0, 1) to draw ``most`` tokens by, a row a seed."""
    return torch.stack([torch.rand(most, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    ends: Sequence[int],
    most: int,
    temperature: float,
    top_p: float = 1.0,
    *,
    by: Any = None,
) -> list[list[int]]:
    """Tokens of one answer to each prompt, the one of ``ends`` that ends it included, ``most`` at most.

    ``temperature`` 0 takes the likeliest. Draws by the rows of ``by``, as `chances` makes them, or from torch's own
    random numbers.
    """
    ids, mask = _padded(prompts, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = Cache(layer_class_to_replicate=RoomyLayer)
    warp, last = _warpers(temperature, top_p), torch.tensor(list(ends), device=model.device)
    found: list[list[int]] = [[] for _ in prompts]
    rows = torch.arange(len(prompts))
    alive = torch.ones(len(prompts), dtype=torch.bool)
    for place in range(most):
        logits = _next_logits(model, ids, mask, positions, cache)
        drawn = _draw(logits, warp, temperature, None if by is None else by[rows, place])
        for row, token, is_alive in zip(rows.tolist(), drawn.tolist(), alive.tolist(), strict=True):
            if is_alive:
                found[row].append(token)
        alive = alive & ~torch.isin(drawn, last)
        if not alive.any():
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        ids, positions = drawn[:, None], positions[:, -1:] + 1
        if (~alive).float().mean() >= LEAVE_SHARE:
            for layer in cache.layers:
                layer.keep(alive)
            ids, mask, positions, rows = ids[alive], mask[alive], positions[alive], rows[alive]
            alive = alive[alive]
    return found


def _next_logits(model: Any, ids: Any, mask: Any, positions: Any, cache: Any) -> Any:
    """Logits of the next token of every row; the cache takes in the new ones."""
    with torch.no_grad():
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[:, -1].float()


def _padded(prompts: Sequence[Sequence[int]], device: Any) -> tuple[Any, Any]:
    """Ids with zeros before the shorter prompts, and the mask that hides these."""
    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _warpers(temperature: float, top_p: float) -> Any:
    warp = LogitsProcessorList()
    if temperature not in (0.0, 1.0):
        warp.append(TemperatureLogitsWarper(temperature))
    if top_p < 1:
        warp.append(TopPLogitsWarper(top_p))
    return warp


def _draw(logits: Any, warp: Any, temperature: float, by: Any) -> Any:
    if temperature == 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(warp(None, logits), dim=-1)
    if by is None:
        return torch.multinomial(shares, 1)[:, 0]
    return _place_of(by, shares)


def _place_of(by: Any, shares: Any) -> Any:
    """The token in whose part of the line from 0 to 1 each number falls; one that has no share is never taken."""
    ends = shares.cumsum(dim=-1)
    # Rounding may put the end of the line beside 1, and a number onto it.
    whole = ends[:, -1:]
    at = torch.minimum(by[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(ends, at, right=True)[:, 0]
