"""Models behind HTTP: embeddings, rerankers, chat. One way of calling them: retried, rate-limited, cached, counted.

Importing this module loads neither httpx nor SQLite; the first call does.
"""

from __future__ import annotations

from latewood.endpoints.account import Account, accounting, current_account
from latewood.endpoints.address import Address, address_of
from latewood.endpoints.cache import Cache, cache_folder, default_cache
from latewood.endpoints.calling import Caller, TooLarge
from latewood.endpoints.chat import ChatModel, Prompt, Reply, load_chat
from latewood.endpoints.embeddings import EmbeddingEncoder, is_endpoint_model, load_embeddings
from latewood.endpoints.estimate import ASK_FIRST, Estimate, tokens_in
from latewood.endpoints.limits import Limits
from latewood.endpoints.rerank import DIALECTS, Dialect, RerankScorer, load_reranker

__all__ = [
    "ASK_FIRST",
    "DIALECTS",
    "Account",
    "Address",
    "Cache",
    "Caller",
    "ChatModel",
    "Dialect",
    "EmbeddingEncoder",
    "Estimate",
    "Limits",
    "Prompt",
    "Reply",
    "RerankScorer",
    "TooLarge",
    "accounting",
    "address_of",
    "cache_folder",
    "current_account",
    "default_cache",
    "is_endpoint_model",
    "load_chat",
    "load_embeddings",
    "load_reranker",
    "tokens_in",
]
