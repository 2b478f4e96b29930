"""Smaller levels of a GGUF file: the right types, llama.cpp's own bytes, and a model that still answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize
from gguf.quants import quantize as quantize_in_numpy

from taut.cli import main
from taut.errors import UsageError
from taut.train.export import export
from taut.train.gguf import blocks
from taut.train.gguf.levels import level_named, type_of
from taut.train.gguf.requantizing import stem_of
from taut.train.quantize import quantize
from tests.train.llama import serve
from tests.train.test_export import farthest
from tests.train.tiny_gguf import TEXTS, make_folder

pytestmark = [pytest.mark.transformers, pytest.mark.embedded]

WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8, "gain": 0.5}
NUMBERS = np.random.default_rng(5).normal(size=(6, 512)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("wide") / "model", **WIDE)


@pytest.fixture(scope="module")
def full(folder: Path) -> Path:
    return export(folder, folder.parent / "model-f32.gguf", level="f32").path


def types_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name.lower() for tensor in GGUFReader(path).tensors}


def without_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_native", lambda kind: None)


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q5_1, Type.Q5_0, Type.Q4_1, Type.Q4_0])
def test_plain_types_have_the_same_bytes_with_and_without_llama_cpp(kind: Any) -> None:
    assert blocks._native(kind) is not None
    assert np.array_equal(blocks.pack(NUMBERS, kind), quantize_in_numpy(NUMBERS, kind))


@pytest.mark.parametrize(("kind", "near"), [(Type.Q6_K, 0.03), (Type.Q5_K, 0.06), (Type.Q4_K, 0.12)])
def test_types_in_large_blocks_come_near_the_numbers(kind: Any, near: float) -> None:
    packed = blocks.pack(NUMBERS, kind)
    error = np.sqrt(np.mean((dequantize(packed, kind) - NUMBERS) ** 2))
    assert near / 10 < error < near


@pytest.mark.parametrize(
    ("level", "near"),
    [
        *(("f16", 0.005), ("bf16", 0.03), ("q8_0", 0.1), ("q6_k", 0.25), ("q5_k_m", 0.4), ("q5_1", 0.4)),
        *(("q5_0", 0.5), ("q4_k_m", 0.6), ("q4_1", 1.0), ("q4_0", 1.0)),
    ],
)
def test_every_level_is_a_model_near_the_full_one(
    folder: Path, full: Path, tmp_path: Path, level: str, near: float
) -> None:
    (done,) = quantize(full, [level], tmp_path)
    assert done.path == tmp_path / f"model-{level}.gguf"
    assert done.size_bytes < full.stat().st_size
    # Further away than the full one, too: else nothing would have been rounded.
    assert near / 100 < farthest(done, folder) < near


def test_fewer_bits_make_a_smaller_file(full: Path, tmp_path: Path) -> None:
    order = ["f16", "q8_0", "q6_k", "q5_k_m", "q5_0", "q4_k_m", "q4_0"]
    sizes = [done.size_bytes for done in quantize(full, order, tmp_path)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_mixture_spends_more_on_both_ends_as_llama_cpp_does(full: Path, tmp_path: Path) -> None:
    quantize(full, ["q4_k_m"], tmp_path)
    types = types_in(tmp_path / "model-q4_k_m.gguf")
    # Of 8 layers: the first eighth (0), the last (7), and every third from the second eighth's third on (3 and 6).
    better = {layer for layer in range(8) if types[f"blk.{layer}.attn_v.weight"] == "q6_k"}
    assert better == {0, 3, 6, 7}
    assert better == {layer for layer in range(8) if types[f"blk.{layer}.ffn_down.weight"] == "q6_k"}
    assert types["blk.0.attn_q.weight"] == types["blk.4.attn_v.weight"] == "q4_k"
    # The embedding also scores the tokens, for it is tied.
    assert types["token_embd.weight"] == "q6_k"
    assert types["output_norm.weight"] == "f32"


def test_an_embedding_that_does_not_score_tokens_has_the_usual_type() -> None:
    level = level_named("q4_0")
    assert type_of(level, "token_embd.weight", (400, 256), 8, scores_tokens=False) == Type.Q4_0
    assert type_of(level, "output.weight", (400, 256), 8, scores_tokens=True) == Type.Q6_K


@pytest.mark.parametrize(
    ("row", "level", "expected"),
    [(192, "q4_k_m", Type.Q5_0), (192, "q5_k_m", Type.Q5_1), (192, "q6_k", Type.Q8_0), (48, "q4_0", Type.F16)],
)
def test_rows_that_do_not_fit_take_the_next_type(row: int, level: str, expected: Any) -> None:
    assert type_of(level_named(level), "blk.1.attn_q.weight", (8, row), 8, scores_tokens=False) == expected


def test_all_keys_go_over(full: Path, tmp_path: Path) -> None:
    before = GGUFReader(full).fields
    after = GGUFReader(quantize(full, ["q8_0"], tmp_path)[0].path).fields
    assert set(after) == set(before)
    changed = {key for key in before if not key.startswith("GGUF.") and before[key].contents() != after[key].contents()}
    assert changed == {"general.file_type"}


def test_export_and_quantize_write_the_same_weights(folder: Path, full: Path, tmp_path: Path) -> None:
    direct = export(folder, tmp_path / "direct.gguf", level="q8_0").path
    (by_way,) = quantize(full, ["q8_0"], tmp_path)
    there = {tensor.name: tensor.data for tensor in GGUFReader(by_way.path).tensors}
    assert all(np.array_equal(tensor.data, there[tensor.name]) for tensor in GGUFReader(direct).tensors)


def test_the_tokens_stay_the_same(full: Path, tmp_path: Path) -> None:
    (small,) = quantize(full, ["q4_0"], tmp_path)
    with serve(full) as before, serve(small.path) as after:
        assert [before.tokens(text) for text in TEXTS] == [after.tokens(text) for text in TEXTS]


def test_without_llama_cpp_the_plain_levels_are_left(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_llama_cpp(monkeypatch)
    with pytest.raises(UsageError, match=r"q4_k_m needs llama.cpp's own functions: pip install 'taut\[embedded\]'"):
        quantize(full, ["q4_k_m"], tmp_path)
    (done,) = quantize(full, ["q4_0"], tmp_path)
    # The matrix that scores tokens would be q6_k.
    assert types_in(done.path)["token_embd.weight"] == "q8_0"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a-f16.gguf", "a"), ("A.Q8_0.gguf", "A"), ("a_f32.gguf", "a"), ("a.gguf", "a"), ("f16.gguf", "f16")],
)
def test_a_level_in_the_name_is_replaced(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem


def refusal(source: Path, level: str, out: Path) -> str:
    with pytest.raises(UsageError) as caught:
        quantize(source, [level], out)
    assert not list(out.glob(".*unfinished*"))
    return str(caught.value)


def test_a_file_is_not_quantised_twice(full: Path, tmp_path: Path) -> None:
    (small,) = quantize(full, ["q8_0"], tmp_path)
    assert "is quantised already" in refusal(small.path, "q4_0", tmp_path)


def test_a_file_is_not_written_over_itself(full: Path) -> None:
    assert "is at the level f32 already" in refusal(full, "f32", full.parent)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    assert "is not a whole GGUF model" in refusal(tmp_path / "model.gguf", "q8_0", tmp_path)


def test_a_model_that_is_cut_short_is_refused(full: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(full.read_bytes()[:-50_000])
    assert "is not a whole GGUF model" in refusal(tmp_path / "model.gguf", "q8_0", tmp_path)


def test_other_architectures_are_left_to_llama_cpp(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.add_tensor("token_embd.weight", NUMBERS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "llama-quantize the others" in refusal(tmp_path / "model.gguf", "q8_0", tmp_path)


def test_the_command_names_sizes_and_the_way_to_compare(
    full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", str(full), "--to", "q8_0,q4_0", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path / 'model-q8_0.gguf'}: " in told
    assert f"taut bench --engine embedded:{tmp_path / 'model-q4_0.gguf'}" in told
    assert main(["quantize", str(full), "--to", "q8"]) == 2
    assert "did you mean 'q8_0'" in capsys.readouterr().err
