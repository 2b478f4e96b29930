"""GGUF files for llama.cpp: read a Hugging Face folder, name its tensors and tokens, store weights at a level.

Needs numpy and gguf, and neither torch nor transformers. `taut.train.export` and `taut.train.quantize` are the ways in.
"""
