"""Semantic-SAM: masks at six granularities from point prompts, in plain PyTorch, with user-supplied weights.

Levels 1 (coarsest) to 6 (finest) are the six granularity tokens of the network. The code was written from a
description of the network's behaviour; it was compared with recorded outputs of random weights, and has not
been run with the published ones. Needs the extra ``my3dis[semantic-sam]``; this module imports none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from my3dis.backends.torch_models.environment import unchanged_environment
from my3dis.backends.torch_models.extras import needs_extra
from my3dis.protocols import BackendOptions, ProposerPlugin

if TYPE_CHECKING:
    from my3dis.backends.proposers.semantic_sam.proposer import SemanticSamProposer

__all__ = ["PLUGIN"]

_STABILITY = 0.92
"""The network's own: what is less stable is not even proposed."""


def _create(options: BackendOptions) -> SemanticSamProposer:
    with unchanged_environment():
        with needs_extra("semantic_sam", "semantic-sam"):
            from my3dis.backends.proposers.semantic_sam.proposer import make
        return make(options)


PLUGIN = ProposerPlugin(
    summary="Semantic-SAM, six granularities from point prompts; needs its weights (stages.ssam.checkpoint)",
    version="2",
    create=_create,
    stability_threshold=_STABILITY,
    resumable="frame",
)
