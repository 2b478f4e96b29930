"""llama.cpp in this process on any GGUF file: its tokens, its text and its log-probabilities."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONTEXT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Llama:
    """A running server."""

    url: str

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer

    def tokens(self, text: str, *, add_special: bool = False) -> list[int]:
        answer = self.ask("/tokenize", content=text, add_special=add_special, parse_special=True)
        return [int(number) for number in answer["tokens"]]

    def greedy(self, prompt: list[int], count: int) -> str:
        """The likeliest text after ``prompt``."""
        answer = self.ask("/completion", prompt=prompt, n_predict=count, temperature=0.0, ignore_eos=True)
        return str(answer["content"])

    def along(self, prompt: list[int], always: int, count: int, size: int) -> list[dict[int, float]]:
        """Log-probabilities of all ``size`` tokens at ``count`` places, each place after the token ``always``.

        What a random model writes by itself are halves of letters, which the server holds back with their numbers.
        """
        answer = self.ask(
            "/completion",
            prompt=prompt,
            n_predict=count,
            n_probs=size,
            logit_bias=[[always, 1000.0]],
            cache_prompt=False,
        )
        places = answer["completion_probabilities"]
        assert [place["id"] for place in places] == [always] * count
        return [{int(item["id"]): float(item["logprob"]) for item in place["top_logprobs"]} for place in places]


@contextmanager
def serve(path: Path) -> Iterator[Llama]:
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel = 1
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    # Keys, values and attention in full, so that only the order of sums differs from what transformers computes.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.warmup = False
    parameters.verbosity = 0
    running = xllamacpp.Server(parameters)
    llama = Llama(running.listening_address)
    # One that is stopped before its loop has begun would wait for ever: a first answer shows that it has.
    llama.ask("/completion", prompt=[0], n_predict=1)
    yield llama
    del running
