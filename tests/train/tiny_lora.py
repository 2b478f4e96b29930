"""A LoRA adapter with random weights for a tiny or a real model, as PEFT saves one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

MODULES = ("q_proj", "v_proj", "down_proj")


def make_lora(base: Path, folder: Path, *, spread: float = 0.1, **settings: Any) -> Path:
    """Save an adapter of ``base`` whose both matrices are random, so that it changes what is written."""
    import peft
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    options = {"r": 4, "lora_alpha": 8, "target_modules": list(MODULES), "task_type": "CAUSAL_LM", **settings}
    with warnings.catch_warnings():
        # peft asks transformers for is_gradient_checkpointing, which has a new name there.
        warnings.simplefilter("ignore", FutureWarning)
        adapted: Any = peft.get_peft_model(model, peft.LoraConfig(**options))
    torch.manual_seed(11)
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_" in name:
                weights.copy_(torch.randn_like(weights) * spread)
    adapted.save_pretrained(folder)
    return folder
