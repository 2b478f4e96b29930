from __future__ import annotations

import pytest

from taut.dialects import FAMILIES, Switch, by_name, detect
from taut.errors import UsageError

# Prompt ends and switches as in the chat templates that `taut.dialects.families` names.
QWEN3 = (
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
)
QWEN3_5 = QWEN3.replace("    {%- endif %}\n", "    {%- else %}\n        {{- '<think>\\n' }}\n    {%- endif %}\n", 1)
QWEN3_THINKING = "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n<think>\\n' }}\n{%- endif %}"
R1 = (
    "{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1] -%}{%- endif -%}"
    "{%- if add_generation_prompt and not ns.is_tool -%}{{'<｜Assistant｜><think>\\n'}}{%- endif %}"
)
V3_1 = (
    "{%- if not thinking is defined -%}{%- set thinking = false -%}{%- endif -%}"
    "{%- if add_generation_prompt and ns.is_last_user -%}{{'<｜Assistant｜>'}}"
    "{%- if not thinking -%}{{'</think>'}}{%- else -%}{{'<think>'}}{%- endif -%}{%- endif %}"
)
GLM_4_6 = (
    "[gMASK]<sop>{%- if add_generation_prompt -%}\n    <|assistant|>{{- '\\n<think></think>' if (enable_thinking is "
    "defined and not enable_thinking) else '' -}}\n{%- endif -%}"
)
GLM_4_7 = (
    "[gMASK]<sop>{%- if add_generation_prompt -%}\n    <|assistant|>{{- '</think>' if (enable_thinking is "
    "defined and not enable_thinking) else '<think>' -}}\n{%- endif -%}"
)
GEMMA_4 = (
    "{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}{%- if not enable_thinking | default(false) -%}"
    "{{- '<|channel>thought\\n<channel|>' -}}{%- endif -%}{%- endif -%}"
)
KIMI_K2_THINKING = (
    "<think>{{rc}}</think>{%- if add_generation_prompt -%}\n  <|im_assistant|>assistant<|im_middle|>\n{%- endif -%}"
)
EXAONE = "{% if add_generation_prompt %}{{ '\\n[|assistant|]<thought>\\n' }}{% endif %}"
SMOLLM3 = (
    '{{- "Reasoning Mode: " + reasoning_mode + "\\n\\n" -}}{%- if enable_thinking -%}{%- endif -%}'
    '{%- if "/no_think" in system_message -%}{%- endif -%}{%- if add_generation_prompt -%}'
    '{{ "<|im_start|>assistant\\n" + "<think>\\n\\n</think>\\n"  }}{%- endif -%}'
)
NEMOTRON_NANO_V2 = (
    "{%- if add_generation_prompt -%}{{- '<SPECIAL_11>Assistant\\n' -}}{%- if ns.enable_thinking is false -%}"
    "{{- '<think></think>' -}}{%- else -%}{{- '<think>\\n\\n' -}}{%- endif -%}{%- endif -%}"
)
LLAMA3 = "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"

NAMES = {
    "Qwen/Qwen3-8B": "qwen3",
    "qwen3:0.6b": "qwen3",
    "Qwen/Qwen3-235B-A22B-Thinking-2507": "qwen3_thinking",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "plain",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "plain",
    "Qwen/Qwen3.5-4B": "qwen3_5",
    "Qwen/QwQ-32B": "qwq",
    "Qwen/QwQ-32B-Preview": "plain",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": "deepseek_r1",
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": "deepseek_r1",
    "deepseek-r1:7b": "deepseek_r1",
    "deepseek-ai/DeepSeek-V3.1-Terminus": "deepseek_v3",
    "deepseek-ai/DeepSeek-V3.2-Exp": "deepseek_v3",
    "deepseek-ai/DeepSeek-V3-0324": "plain",
    "openai/gpt-oss-20b": "gpt_oss",
    "zai-org/GLM-4.5-Air": "glm_4_5",
    "zai-org/GLM-4.6": "glm_4_5",
    "zai-org/GLM-4.7": "glm_4_7",
    "moonshotai/Kimi-K2-Thinking": "kimi_k2_thinking",
    "moonshotai/Kimi-K2.5": "kimi_k2_5",
    "moonshotai/Kimi-K2-Instruct-0905": "plain",
    "moonshotai/Kimi-VL-A3B-Thinking-2506": "kimi_triangle",
    "mistralai/Magistral-Small-2509": "magistral",
    "mistralai/Magistral-Small-2506": "magistral_2506",
    "mistralai/Ministral-3-14B-Reasoning-2512": "magistral",
    "microsoft/Phi-4-reasoning": "phi_4_reasoning",
    "microsoft/Phi-4-mini-reasoning": "phi_4_reasoning",
    "microsoft/phi-4": "plain",
    "nvidia/Llama-3.1-Nemotron-Nano-8B-v1": "nemotron_v1",
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1_5": "nemotron_v1_5",
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2": "nemotron_nano_v2",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "nemotron_3",
    "nvidia/Llama-3.1-Nemotron-70B-Instruct-HF": "plain",
    "HuggingFaceTB/SmolLM3-3B": "smollm3",
    "google/gemma-3-4b-it": "plain",
    "google/gemma-4-31B-it": "gemma_4",
    "ibm-granite/granite-3.2-8b-instruct": "granite_3_2",
    "ibm-granite/granite-3.3-8b-instruct": "granite_3_3",
    "ibm-granite/granite-4.0-h-tiny": "plain",
    "LGAI-EXAONE/EXAONE-Deep-7.8B": "exaone_deep",
    "tencent/Hunyuan-A13B-Instruct": "hunyuan",
    "MiniMaxAI/MiniMax-M2": "minimax_m2",
    "MiniMaxAI/MiniMax-M3": "minimax_m3",
    "ByteDance-Seed/Seed-OSS-36B-Instruct": "seed_oss",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "plain",
    "meta-llama/Llama-3.1-8B-Instruct": "plain",
}


@pytest.mark.parametrize(("model", "name"), NAMES.items())
def test_a_model_is_known_by_its_name(model: str, name: str) -> None:
    assert detect(model, None).name == name


@pytest.mark.parametrize(
    ("template", "name", "opens"),
    [
        (QWEN3, "qwen3", False),
        (QWEN3_5, "qwen3", True),
        (QWEN3_THINKING, "think_tags", True),
        (R1, "deepseek_r1", True),
        (R1.replace("<think>\\n", ""), "deepseek_r1", False),
        (V3_1, "deepseek_v3", False),
        (GLM_4_6, "glm_4_5", False),
        (GLM_4_7, "glm_4_7", True),
        (GEMMA_4, "gemma_4", False),
        (KIMI_K2_THINKING, "kimi_k2_thinking", False),
        (EXAONE, "exaone_deep", True),
        (SMOLLM3, "smollm3", False),
        (NEMOTRON_NANO_V2, "nemotron_nano_v2", True),
        (LLAMA3, "plain", False),
    ],
)
def test_a_model_of_unknown_name_is_known_by_its_template(template: str, name: str, opens: bool) -> None:
    dialect = detect("my-finetune", template)
    assert (dialect.name, dialect.template_opens) == (name, opens)


def test_the_template_wins_over_the_name() -> None:
    assert detect("Qwen/Qwen3-8B", GLM_4_6).name == "glm_4_5"
    assert detect("meta-llama/Llama-3.1-8B-Instruct", QWEN3_THINKING).name == "think_tags"
    assert detect("Qwen/Qwen3-8B-Instruct", QWEN3_THINKING).name == "think_tags"


def test_the_name_tells_what_a_template_with_common_tags_leaves_open() -> None:
    assert detect("Qwen/Qwen3-4B-Thinking-2507", QWEN3_THINKING) == FAMILIES["qwen3_thinking"]
    assert detect("nvidia/Llama-3.1-Nemotron-Nano-8B-v1", LLAMA3).name == "nemotron_v1"


def test_a_switch_that_the_template_does_not_read_is_no_switch() -> None:
    assert (
        detect("zai-org/GLM-5.3", "[gMASK]<sop>{% if add_generation_prompt %}<|assistant|>{{'<think>'}}{% endif %}").off
        == Switch()
    )
    assert detect("Qwen/Qwen3-8B", QWEN3).off == Switch("template_kwarg", "enable_thinking", False)


def test_a_rendered_prompt_shows_the_family_and_leaves_its_switches() -> None:
    assert detect("Qwen/Qwen3-8B", "<|im_start|>user\nHi<|im_end|>\n") == FAMILIES["qwen3"]
    assert detect("m", "<SPECIAL_11>Assistant\n<think>\n") == FAMILIES["nemotron_nano_v2"]


def test_the_switch_is_named_as_the_template_names_it() -> None:
    renamed = V3_1.replace("thinking", "enable_thinking")
    assert detect("m", renamed).off == Switch("template_kwarg", "enable_thinking", False)
    unknown = "{% if thinking is defined and not thinking %}<think></think>{% endif %}"
    assert detect("m", unknown).on == Switch("template_kwarg", "thinking", True)


def test_an_unknown_dialect_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'qwen_3' \\(did you mean 'qwen3'\\?\\)"):
        by_name("qwen_3")
