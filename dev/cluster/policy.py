"""Writes NetworkPolicies into the iptables of a node, from outside its network namespace.

The plain bridge plugin that connects the pods knows nothing of policies.
"""

from __future__ import annotations

import re
import subprocess

from . import network
from .policy_rules import HOOK

HOOKED_CHAINS = ("FORWARD", "INPUT")
HOOK_COMMENT = "kinema-cluster"


class NodeTables:
    """The policy chains of one node's network namespace."""

    def __init__(self, index: int) -> None:
        self.name = f"node{index}"
        self._enter = network.in_namespace(index)
        self._written: dict[str, list[str]] | None = None

    def write(self, chains: dict[str, list[str]]) -> None:
        """Replace the chains in one transaction, if they differ from what was written last.

        Raises:
            subprocess.CalledProcessError: iptables refused them.
        """
        if chains != self._written or not self._hooked_first():
            self._restore(chains)
            self._written = chains

    def _restore(self, chains: dict[str, list[str]]) -> None:
        listing = self._iptables("-S")
        present = set(re.findall(r"^-N (KINEMA-\S+)", listing, re.MULTILINE))
        hooks = re.findall(rf"^-A (.* -j {HOOK})$", listing, re.MULTILINE)
        comment = f'-m comment --comment "{HOOK_COMMENT}"'
        lines = ["*filter"]
        # Naming a chain empties it, so that rules of a pod that is gone hold no reference either.
        lines += [f":{name} - [0:0]" for name in sorted(present | chains.keys())]
        lines += [f"-D {hook}" for hook in hooks]
        lines += [f"-I {chain} 1 {comment} -j {HOOK}" for chain in HOOKED_CHAINS]
        lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
        lines += [f"-X {name}" for name in sorted(present - chains.keys())]
        lines += ["COMMIT", ""]
        command = [*self._enter, "iptables-restore", "--wait", "--noflush"]
        subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True)

    def _hooked_first(self) -> bool:
        """Whether policies still come before kube-proxy's rules, which accept some traffic for good."""
        listing = self._iptables("-S")
        firsts = [re.search(rf"^-A {chain} .*$", listing, re.MULTILINE) for chain in HOOKED_CHAINS]
        return all(first is not None and first[0].endswith(f"-j {HOOK}") for first in firsts)

    def _iptables(self, *arguments: str) -> str:
        command = [*self._enter, "iptables", "--wait", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
