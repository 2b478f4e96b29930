"""TRL itself reads the rows: as conversations, with the loss on the completion and nothing of the prompt in it."""

from __future__ import annotations

from typing import Any

import pytest

from taut.dialects import by_name
from taut.methods.model_based.short_data._nouns import Tools
from taut.train.examples import build, open_builder, row_of
from tests.methods.short_data.made import lengths_question

tokenizers = pytest.importorskip("tokenizers", reason="the extra transformers is not installed")
transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
data_utils = pytest.importorskip("trl.data_utils", reason="the extra train is not installed")

pytestmark = pytest.mark.transformers
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    alphabet = {letter: place for place, letter in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(alphabet, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner)
    fast.chat_template = TEMPLATE
    return fast


@pytest.mark.parametrize("name", ["shortest_correct", "long_to_short"])
def test_rows_are_conversations_that_trl_renders_as_prompt_and_completion(tokenizer: Any, name: str) -> None:
    example = build(open_builder(name), [lengths_question(30, 90)], Tools()).examples[0]
    row = row_of(example, by_name("think_tags"))
    assert data_utils.is_conversational(row)
    rendered = data_utils.apply_chat_template(row, tokenizer)
    assert rendered["prompt"] == "<|user|>What is 3 + 4 (q/0)?<|end|><|assistant|>"
    for column in {"completion", "chosen", "rejected"} & row.keys():
        assert rendered[column] == "<think>\n3 + 4 = 7.\n</think>\n\nThe answer is 7.<|end|>"
