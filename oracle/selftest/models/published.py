"""Small models of the library transformers, with random weights: the code of many published networks."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from oracle.selftest.models.architectures import randomize_constants, torchvision_loads
from oracle.selftest.models.language import HEADS, LENGTH, WIDTH, WORDS

CAUSAL, MASKED, FROM_TO, IMAGE = "CausalLM", "MaskedLM", "Seq2SeqLM", "ImageClassification"
SMALL = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": 2 * WIDTH}
WORDS_ALONE = {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 2}  # heads of keys and values, of which each serves several queries
MIXED = {"num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
OWN_NAMES = {"d_model": WIDTH, "n_layer": 2, "n_head": HEADS}
GROUPED_PRODUCTS = ("mixtral", "gpt_oss", "deepseek_v3")
# The model's type, its task, and options of its configuration beside SMALL.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (CAUSAL, {"n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": LENGTH}),
    "gpt_neox": (CAUSAL, {}),
    "gptj": (CAUSAL, {"n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "rotary_dim": 4}),
    "opt": (CAUSAL, {"ffn_dim": WIDTH, "word_embed_proj_dim": WIDTH}),
    "bloom": (CAUSAL, {"n_layer": 2, "n_head": HEADS}),
    "falcon": (CAUSAL, {}),
    "phi": (CAUSAL, {}),
    "llama": (CAUSAL, GROUPED),
    "mistral": (CAUSAL, GROUPED | {"sliding_window": 8}),
    "mixtral": (CAUSAL, GROUPED | {"num_local_experts": HEADS}),
    "qwen2": (CAUSAL, GROUPED),
    "qwen3": (CAUSAL, GROUPED | {"head_dim": 8}),
    "gemma2": (CAUSAL, GROUPED | {"head_dim": 8}),
    "gpt_oss": (CAUSAL, GROUPED | MIXED | {"head_dim": 8, "num_local_experts": HEADS, "sliding_window": 8}),
    "deepseek_v3": (
        CAUSAL,
        MIXED
        | {
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "num_key_value_heads": HEADS,
        }
        | {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8},
    ),
    "mamba": (CAUSAL, {"state_size": 8}),
    "mamba2": (CAUSAL, {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 4}),
    "rwkv": (CAUSAL, {"attention_hidden_size": WIDTH}),
    "recurrent_gemma": (
        CAUSAL,
        {"num_hidden_layers": 3, "head_dim": 8, "lru_width": WIDTH, "attention_window_size": 8},
    ),
    "xlnet": (CAUSAL, OWN_NAMES | {"d_inner": 2 * WIDTH}),
    "bert": (MASKED, {}),
    "roberta": (MASKED, {"max_position_embeddings": 2 * LENGTH}),
    "distilbert": (MASKED, {"dim": WIDTH, "n_layers": 2, "n_heads": HEADS, "hidden_dim": 2 * WIDTH}),
    "albert": (MASKED, {"embedding_size": 16}),
    "electra": (MASKED, {"embedding_size": 16}),
    "deberta-v2": (MASKED, {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}),
    "esm": (MASKED, {"position_embedding_type": "rotary", "mask_token_id": 3}),
    "longformer": (MASKED, {"attention_window": 4, "max_position_embeddings": 2 * LENGTH}),
    "modernbert": (MASKED, {"local_attention": 8}),
    "t5": (FROM_TO, {"d_model": WIDTH, "d_kv": 8, "d_ff": 2 * WIDTH, "num_layers": 2, "num_heads": HEADS}),
    "bart": (
        FROM_TO,
        {"d_model": WIDTH, "max_position_embeddings": 2 * LENGTH}
        | {
            f"{half}_{what}": n
            for half in ("encoder", "decoder")
            for what, n in (("layers", 2), ("ffn_dim", 2 * WIDTH))
        }
        | {f"{half}_attention_heads": HEADS for half in ("encoder", "decoder")},
    ),
    "vit": (IMAGE, {"image_size": 48, "patch_size": 8}),
    "swin": (
        IMAGE,
        {"image_size": 48, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_attention_heads": [2, 4]},
    ),
    "convnext": (IMAGE, {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}),
    "segformer": (
        IMAGE,
        {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]},
    ),
    "mobilevit": (IMAGE, {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 16, 24, 32]}),
}


class Scores(torch.nn.Module):
    """A model of transformers as a function of one tensor: its scores for words, or for classes."""

    def __init__(self, model: torch.nn.Module, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: Tensor) -> Tensor:
        if self.task == FROM_TO:
            made = self.model(input_ids=x, decoder_input_ids=x, use_cache=False)
        else:
            made = self.model(x, use_cache=False) if self.task == CAUSAL else self.model(x)
        return made.logits  # type: ignore[no-any-return]


def published_model(name: str, classes: int) -> torch.nn.Module:
    """The model of this type, which maps tokens (N, LENGTH) or images (N, 3, 48, 48) to scores; no weight of it is constant."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torchvision_loads()
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    task, options = MODELS[name]
    of_task = {"num_labels": classes} if task == IMAGE else WORDS_ALONE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = transformers.AutoConfig.for_model(name, **(SMALL | of_task | options))
        model = Scores(getattr(transformers, f"AutoModelFor{task}").from_config(config), task)
    randomize_constants(model, torch.Generator().manual_seed(1))
    return model
