"""SAM 2 prompted with a grid of points: its three masks per point are wholes, parts and subparts.

Needs weights and torch (the extra ``sam2``); nothing here imports either before a proposer is made.
The published weights have not been run by this project: what is tested are random weights of a tiny model.
"""

from __future__ import annotations

from my3dis.backends.torch_models.environment import unchanged_environment
from my3dis.backends.torch_models.extras import needs_extra
from my3dis.protocols import BackendOptions, MaskProposer, ProposerPlugin

__all__ = ["PLUGIN"]


def _create(options: BackendOptions) -> MaskProposer:
    with unchanged_environment():
        with needs_extra("sam2_auto", "sam2"):
            from my3dis.backends.proposers.sam2_auto.proposer import make_proposer
        return make_proposer(options)


PLUGIN = ProposerPlugin(
    summary="SAM 2 prompted with a grid of points: wholes, parts, subparts; needs weights and my3dis[sam2]",
    version="1",
    create=_create,
    stability_threshold=0.95,
    resumable="frame",
)
