"""The families, one entry each: data only.

``names`` is searched in the model's name, ``marks`` must all be in the chat template; the first entry that fits is
taken, so special families stand before general ones. A comment says what an entry was checked against: a chat template,
a server's parser, or the maker's page. ``unverified`` marks what could not be checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from taut.dialects.nouns import Dialect, Switch


@dataclass(frozen=True, slots=True)
class Family:
    """A dialect, and how it is recognised."""

    dialect: Dialect
    names: str = ""
    """Regular expression, searched in the model's name in any case."""
    marks: tuple[str, ...] = ()
    thinks_by_default: bool = True
    """The template leaves thinking on unless told; where not, ``template_opens`` cannot be read from it."""


THINK_TAGS = Dialect(
    name="think_tags",
    open="<think>\n",
    close="\n</think>\n\n",
    open_tags=("<think>",),
    close_tags=("</think>",),
    chat_prefill=False,
)
"""Any model whose template knows ``<think>``."""

PLAIN = Dialect(
    name="plain",
    close="\n\nTherefore, the final answer is:",
    closed_answer_prefix="The final answer is:",
)
"""No tags: two-stage zero-shot chain of thought (Kojima et al. 2022, arXiv:2205.11916)."""

OFF = Switch("template_kwarg", "enable_thinking", False)
ON = Switch("template_kwarg", "enable_thinking", True)
THINKING_OFF = Switch("template_kwarg", "thinking", False)
THINKING_ON = Switch("template_kwarg", "thinking", True)
NO_THINK_SYSTEM = Switch("system", value="/no_think")
THINK_SYSTEM = Switch("system", value="/think")

MAGISTRAL_SYSTEM = (
    "First draft your thinking process (inner monologue) until you arrive at a response. Format your response using "
    "Markdown, and use LaTeX for any mathematical equations. Write both your thoughts and the response in the same "
    "language as the input.\n\nYour thinking process must follow the template below:[THINK]Your thoughts or/and draft, "
    "like working through an exercise on scratch paper. Be as casual and as long as you want until you are confident "
    "to generate the response. Use the same language as the input.[/THINK]Here, provide a self-contained response."
)


def _think(name: str, *, opens: bool = False, off: Switch = OFF, on: Switch = ON) -> Dialect:
    """``<think>`` on a line of its own."""
    return replace(THINK_TAGS, name=name, template_opens=opens, off=off, on=on)


def _bare_think(name: str, *, opens: bool = False, off: Switch = OFF, on: Switch = ON) -> Dialect:
    """``<think>`` without newlines around it."""
    return replace(_think(name, opens=opens, off=off, on=on), open="<think>", close="</think>")


NEVER = Switch()

FAMILIES: tuple[Family, ...] = (
    # OpenAI harmony format and the gpt-oss chat template: the generation prompt ends in <|start|>assistant, the model
    # names its channel. The template refuses channel marks in messages. Thinking cannot be switched off: least effort.
    Family(
        Dialect(
            name="gpt_oss",
            open="<|channel|>analysis<|message|>",
            close="<|end|><|start|>assistant<|channel|>final<|message|>",
            open_tags=("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>analysis<|message|>"),
            close_tags=(
                "<|end|><|start|>assistant<|channel|>final<|message|>",
                "<|start|>assistant<|channel|>final<|message|>",
                "<|channel|>final<|message|>",
                "<|channel|>commentary<|message|>",
                "<|start|>assistant<|channel|>commentary<|message|>",
                "<|end|>",
                "<|return|>",
            ),
            off=Switch("effort", "reasoning_effort", "low"),
            on=Switch("effort", "reasoning_effort", "medium"),
            chat_prefill=False,
        ),
        r"gpt-?oss",
        ("<|channel|>", "analysis"),
    ),
    # llama.cpp's gemma4.jinja and vLLM's gemma4 parser. Off by default: the template then writes an empty thought.
    Family(
        Dialect(
            name="gemma_4",
            open="<|channel>thought\n",
            close="<channel|>",
            open_tags=("<|channel>thought",),
            close_tags=("<channel|>",),
            off=OFF,
            on=ON,
            chat_prefill=False,
        ),
        r"gemma-?4",
        ("<|channel>thought",),
    ),
    # Mistral's page on native reasoning: the 2506 models write the tags as plain text.
    Family(replace(_think("magistral_2506", off=NEVER, on=NEVER), close="\n</think>\n"), r"magistral.*2506"),
    # Model card of Magistral 1.1 and the community template: control tokens, asked for in the system prompt that the
    # template adds where there is none. As text in a message the tokens are not recognised.
    Family(
        Dialect(
            name="magistral",
            open="[THINK]",
            close="[/THINK]",
            open_tags=("[THINK]",),
            close_tags=("[/THINK]",),
            on=Switch("system", value=MAGISTRAL_SYSTEM),
            chat_prefill=False,
        ),
        r"magistral|ministral.*reasoning",
        ("[THINK]",),
    ),
    # Output of Kimi-VL-A3B-Thinking and Kimi-Dev in public evaluation code; who opens the thought is unverified.
    Family(
        Dialect(
            name="kimi_triangle",
            open="◁think▷",
            close="◁/think▷",
            open_tags=("◁think▷",),
            close_tags=("◁/think▷",),
            chat_prefill=False,
        ),
        r"kimi-vl.*think|kimi-dev|kimi-?k?1[._]5",
        ("◁think▷",),
    ),
    # Public renderers' tests for K2.5 and K2.6: the prompt ends in <think>, or in <think></think> with thinking off.
    Family(
        _bare_think("kimi_k2_5", opens=True, off=THINKING_OFF, on=THINKING_ON),
        r"kimi-?k2[._-]?[5-9]",
        ("<|im_middle|>", "<think>", "thinking is"),
    ),
    # llama.cpp's moonshotai-Kimi-K2-Thinking.jinja; it puts an empty thought before a given message.
    Family(
        _bare_think("kimi_k2_thinking", off=NEVER, on=NEVER),
        r"kimi-?k2.*think",
        ("<|im_middle|>", "<think>"),
    ),
    # The EXAONE-Deep template in its model page.
    Family(
        Dialect(
            name="exaone_deep",
            open="<thought>\n",
            close="\n</thought>\n\n",
            open_tags=("<thought>",),
            close_tags=("</thought>",),
            template_opens=True,
            chat_prefill=False,
        ),
        r"exaone-?deep",
        ("[|assistant|]", "<thought>"),
    ),
    # llama.cpp's ByteDance-Seed-OSS.jinja: budget 0 asks for no thinking and opens a thought that the model closes.
    Family(
        Dialect(
            name="seed_oss",
            open="<seed:think>",
            close="</seed:think>",
            open_tags=("<seed:think>",),
            close_tags=("</seed:think>",),
            off=Switch("template_kwarg", "thinking_budget", 0),
            on=Switch("template_kwarg", "thinking_budget", -1),
        ),
        r"seed-?oss",
        ("seed:think",),
    ),
    # vLLM's minimax_m3 parser; the template and its switch are unverified.
    Family(
        Dialect(
            name="minimax_m3",
            open="<mm:think>",
            close="</mm:think>",
            open_tags=("<mm:think>",),
            close_tags=("</mm:think>",),
            chat_prefill=False,
        ),
        r"minimax-?m3",
        ("<mm:think>",),
    ),
    # llama.cpp's MiniMax-M2 template and vLLM's parser; M1 is unverified.
    Family(
        _think("minimax_m2", opens=True, off=NEVER, on=NEVER),
        r"minimax-?m[12]",
        ("]~b]ai", "<think>"),
    ),
    # Granite 3.2 template and vLLM's granite parser, which also knows "Here's". Off by default.
    Family(
        Dialect(
            name="granite_3_2",
            open="Here is my thought process:\n\n",
            close="\n\nHere is my response:\n\n",
            open_tags=("Here is my thought process:", "Here's my thought process:"),
            close_tags=("Here is my response:", "Here's my response:"),
            off=THINKING_OFF,
            on=THINKING_ON,
        ),
        r"granite-?3[._]2",
        ("Here is my thought process:",),
        thinks_by_default=False,
    ),
    # Granite 3.3 template: thoughts and response each in their own tags. Off by default.
    Family(
        Dialect(
            name="granite_3_3",
            open="<think>",
            close="</think>\n<response>",
            open_tags=("<think>",),
            close_tags=("</think>", "<response>", "</response>"),
            off=THINKING_OFF,
            on=THINKING_ON,
        ),
        r"granite-?3[._]3",
        ("<think></think>", "<response></response>"),
        thinks_by_default=False,
    ),
    # vLLM's granite_thinking parser (Granite 4.2), which writes a newline after the close tag.
    Family(replace(_think("granite_4_2", opens=True), close="\n</think>\n"), r"granite-?4[._]2"),
    # vLLM's hunyuan_a13b parser; enable_thinking from the model card. How its template treats messages is unverified.
    Family(
        replace(
            _think("hunyuan"),
            close="\n</think>\n<answer>\n",
            close_tags=("</think>", "<answer>", "</answer>"),
        ),
        r"hunyuan",
        ("<think>", "<answer>"),
    ),
    # llama.cpp's GLM-4.6.jinja: the model writes the newline and the tag; off adds /nothink and an empty thought.
    Family(
        replace(_bare_think("glm_4_5"), open="\n<think>", close="</think>\n"),
        r"glm-?4[._][56]",
        ("[gMASK]", "<think></think>' if"),
    ),
    # The GLM-4.7 generation prompt as quoted in several serving projects: <think>, or </think> with thinking off.
    # GLM-5.3 has no switch (vLLM's glm47_moe parser).
    Family(_bare_think("glm_4_7", opens=True), r"glm-?(?:4[._][789]|[5-9])", ("[gMASK]", "<think>")),
    # llama.cpp's DeepSeek-V3.1 template: off by default, then the prompt ends in a close tag alone.
    Family(
        _bare_think("deepseek_v3", off=THINKING_OFF, on=THINKING_ON),
        r"deepseek-?v(?:3[._][12]|4)",
        ("<｜Assistant｜>", "thinking"),
        thinks_by_default=False,
    ),
    # llama.cpp's DeepSeek-R1-Distill template, which opens the thought; older ones leave it to the model. Both drop
    # thoughts from messages.
    Family(
        _think("deepseek_r1", opens=True, off=NEVER, on=NEVER),
        r"deepseek-?r1|r1-distill|deepscaler",
        ("<｜Assistant｜>", "</think>"),
    ),
    # NVIDIA's pages on reasoning models: the system prompt alone decides.
    Family(
        replace(
            _think(
                "nemotron_v1",
                off=Switch("system", value="detailed thinking off"),
                on=Switch("system", value="detailed thinking on"),
            ),
            chat_prefill=True,
        ),
        r"llama-?3[._]\d-nemotron-(?:nano|super|ultra).*v1(?![._]5)",
        ("detailed thinking",),
    ),
    # llama.cpp's Llama-3_3-Nemotron-Super-49B-v1_5.jinja: off writes an empty thought.
    Family(
        _think("nemotron_v1_5", off=NO_THINK_SYSTEM, on=THINK_SYSTEM),
        r"llama-?3[._]\d-nemotron.*v1[._]5",
        ("<|start_header_id|>", "/no_think"),
    ),
    # llama.cpp's NVIDIA-Nemotron-Nano-v2.jinja: opens a thought, or writes an empty one.
    Family(
        _think("nemotron_nano_v2", opens=True, off=NO_THINK_SYSTEM, on=THINK_SYSTEM),
        r"nemotron-nano.*v2",
        ("<SPECIAL_11>",),
    ),
    # End of the Nemotron-3-Nano template as quoted in public notes, and vLLM's nemotron_v3 parser.
    Family(_think("nemotron_3", opens=True), r"nemotron-?3"),
    # The SmolLM3 template: off writes an empty thought; messages are passed through in thinking mode.
    Family(
        replace(_think("smollm3"), close="\n</think>\n", chat_prefill=True),
        r"smollm-?3",
        ("Reasoning Mode:", "/no_think"),
    ),
    # Phi-4-reasoning's default system prompt asks for <think> … </think>; messages are passed through. The mini
    # model's template has no marks, and its tags are unverified.
    Family(
        replace(_think("phi_4_reasoning", off=NEVER, on=NEVER), open="<think>", chat_prefill=True),
        r"phi-?4.*reasoning",
        ("<|im_sep|>", "<think>"),
    ),
    # QwQ-32B template as shown in a fine-tuning guide: opens the thought.
    Family(_think("qwq", opens=True, off=NEVER, on=NEVER), r"qwq(?!.*preview)"),
    # The Qwen3-Thinking-2507 template as published with a training framework: opens the thought, no switch.
    Family(_think("qwen3_thinking", opens=True, off=NEVER, on=NEVER), r"qwen-?3(?![._]\d).*thinking"),
    # The instruct and coder models of 2025 do not think.
    Family(PLAIN, r"qwen-?3(?![._]\d).*(?:instruct|coder)"),
    # llama.cpp's Qwen3.5-4B.jinja: opens a thought, or writes an empty one.
    Family(_think("qwen3_5", opens=True), r"qwen-?3[._]\d"),
    # llama.cpp's Qwen-Qwen3-0.6B.jinja: off writes an empty thought, and so does a message without a closed one.
    # The soft switch /no_think in the question exists too; it is weaker.
    Family(
        _think("qwen3"),
        r"qwen-?3",
        ("<|im_start|>", "enable_thinking is false", r"<think>\n\n</think>"),
    ),
    Family(THINK_TAGS),
    Family(PLAIN),
)
