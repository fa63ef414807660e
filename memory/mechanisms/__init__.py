"""Hooks that come with Memlane: what memory does at a session's start and end, when its context fills up, and when the
user asks for something. They are given the callables by which they publish, ask and forget:

    publisher, recall = Publisher(url, source="my-agent", group="shop"), Recall(url, group="shop")
    adapter.register_hook(BootstrapMechanism(recall=recall.ask))
    adapter.register_hook(CompactionMechanism(adapter, publish=publisher.publish))
"""

from memory.mechanisms.bootstrap import BootstrapMechanism
from memory.mechanisms.compaction_mechanism import CompactionMechanism
from memory.mechanisms.snapshot import SnapshotMechanism
from memory.mechanisms.user_request import UserRequestMechanism

__all__ = ["BootstrapMechanism", "CompactionMechanism", "SnapshotMechanism", "UserRequestMechanism"]
