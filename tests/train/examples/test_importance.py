"""Importance of words, told by tiny models that are made here: a token classifier and a language model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taut.cli import main
from taut.errors import UsageError
from taut.methods.model_based.short_data._chains import words_of
from tests.train.examples.test_reading import made_trace, written
from tests.train.made import tiny_llama

torch = pytest.importorskip("torch", reason="the extra transformers is not installed")
transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra transformers is not installed")

from taut.train.examples.importance import open_weigher  # noqa: E402 - after the check for its libraries

pytestmark = pytest.mark.transformers
TEXT = "Step one: add 3 and 4.\n\nSo it is 7, and 7 is the answer to all of it."


def save_tokenizer(folder: Path, most_tokens: int) -> int:
    """Bytes as tokens, between two special ones as XLM-R has them; returns the size of the vocabulary."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2} | {letter: place + 3 for place, letter in enumerate(alphabet)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=most_tokens
    )
    fast.save_pretrained(folder)
    return len(vocabulary)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty-four tokens at once, so that the text above needs several looks."""
    folder = tmp_path_factory.mktemp("classifier")
    size = save_tokenizer(folder, 64)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        num_labels=2,
    )
    model = transformers.BertForTokenClassification(config).eval()
    # Told by the letter alone: digits are to be kept, everything else is not.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
            norm.weight.fill_(1.0)
        ids = transformers.AutoTokenizer.from_pretrained(folder)("0123456789", add_special_tokens=False).input_ids
        model.bert.embeddings.word_embeddings.weight[:, 0] = 1.0
        model.bert.embeddings.word_embeddings.weight[ids, 0] = -1.0
        model.bert.embeddings.word_embeddings.weight[:, 1] = 0.5
        model.classifier.weight[0, 0] = 3.0
        model.classifier.weight[1, 0] = -3.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language_model")
    size = save_tokenizer(folder, 4096)
    tiny_llama(size, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1).save_pretrained(folder)
    return folder


def test_words_with_digits_weigh_most_where_the_classifier_keeps_digits(classifier: Path) -> None:
    weighed = open_weigher("llmlingua2", classifier)("What is 3 + 4?", TEXT)
    assert "".join(word for word, _ in weighed) == TEXT
    digits = [weight for word, weight in weighed if word.strip() in ("3", "4.", "7,", "7")]
    others = [weight for word, weight in weighed if not any(map(str.isdigit, word))]
    assert len(digits) == 4
    assert min(digits) > max(others)
    assert all(0 <= weight <= 1 for _, weight in weighed)


def test_a_text_longer_than_the_model_can_look_at_is_weighed_to_its_end(classifier: Path) -> None:
    text = TEXT * 5
    weighed = open_weigher("llmlingua2", classifier)("", text)
    assert "".join(word for word, _ in weighed) == text
    assert all(weight > 0 for _, weight in weighed)


def test_surprisal_is_the_mean_of_minus_log_p_after_the_question(language_model: Path) -> None:
    question, chain = "What is 3 + 4?", "So 7."
    weighed = open_weigher("surprisal", language_model)(question, chain)
    model = transformers.AutoModelForCausalLM.from_pretrained(language_model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(language_model)
    ids: list[int] = tokenizer(question + chain, add_special_tokens=False).input_ids
    with torch.inference_mode():
        told: Any = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    values = [-float(told[place - 1, ids[place]]) for place in range(len(question), len(ids))]
    # One token a letter: "So " are the first three, "7." the other two.
    assert [word for word, _ in weighed] == ["So ", "7."]
    assert weighed[0][1] == pytest.approx(sum(values[:3]) / 3, abs=1e-4)
    assert weighed[1][1] == pytest.approx(sum(values[3:]) / 2, abs=1e-4)


def test_surprisal_of_a_long_chain_covers_every_word(language_model: Path) -> None:
    chain = "So it is 7, and 12 more. " * 300
    weighed = open_weigher("surprisal", language_model)("What?", chain)
    assert [word for word, _ in weighed] == words_of(chain)
    assert all(0 < weight < 5 * math.log(300) for _, weight in weighed)


@pytest.mark.parametrize("importance", ["llmlingua2", "surprisal"])
def test_the_command_weighs_with_the_model_that_it_is_given(
    importance: str, classifier: Path, language_model: Path, tmp_path: Path
) -> None:
    run = written(tmp_path / "run" / "traces.jsonl", *(replace(made_trace(n), thinking=TEXT) for n in range(3)))
    folder = classifier if importance == "llmlingua2" else language_model
    builder = f"token_skip(importance={importance},ratios=0.5,keep_digits=false)"
    out = tmp_path / "train.jsonl"
    given = ["--importance-model", str(folder), "--tokenizer", str(folder)]
    assert main(["data", builder, str(run), "--out", str(out), *given]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["tokens_source"] for row in rows] == ["counted"] * 3
    contents = [row["completion"][0]["content"] for row in rows]
    # Half of the nineteen words, and of those with digits all four where the classifier likes them best.
    thoughts = [content.partition("<think>\n")[2].partition("\n</think>")[0] for content in contents]
    assert {len(words_of(thought)) for thought in thoughts} == {round(0.5 * len(words_of(TEXT)))}
    if importance == "llmlingua2":
        assert all({"3", "4.", "7,", "7"} <= set(thought.split()) for thought in thoughts)


def test_what_cannot_weigh_is_refused_in_one_sentence(tmp_path: Path, language_model: Path, classifier: Path) -> None:
    with pytest.raises(UsageError, match="is no folder with a Hugging Face model"):
        open_weigher("llmlingua2", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot load"):
        open_weigher("surprisal", tmp_path)
    with pytest.raises(UsageError, match="no model for importance='random'; known: llmlingua2, surprisal"):
        open_weigher("random", classifier)
    config = transformers.AutoConfig.from_pretrained(classifier)
    config.num_labels = 3
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path / "three")
    save_tokenizer(tmp_path / "three", 64)
    with pytest.raises(UsageError, match="has 3 classes: LLMLingua-2 has two, drop and keep"):
        open_weigher("llmlingua2", tmp_path / "three")


def test_a_model_that_was_never_taught_to_weigh_words_is_refused(language_model: Path) -> None:
    with pytest.raises(UsageError, match="was not trained as AutoModelForTokenClassification: it has no"):
        open_weigher("llmlingua2", language_model)
