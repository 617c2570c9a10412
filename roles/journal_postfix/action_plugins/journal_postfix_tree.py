"""The controller's half of the module journal_postfix_tree: finds the files, and hands over what they hold.

One transfer for the whole program: Ansible's `copy` would take a round trip for each of its hundred files, bring
`__pycache__` along, and leave behind what a newer version no longer has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Find, read, hand over."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module with the contents of the files."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        source = Path(arguments["src"])
        found = {path for glob in arguments["globs"] for path in source.glob(glob) if path.is_file()}
        if not found:
            raise AnsibleActionFail(
                f"{source}: none of {', '.join(arguments['globs'])} is there; is the checkout whole?"
            )
        files = {str(path.relative_to(source)): path.read_text(encoding="utf-8") for path in sorted(found)}
        result: dict[str, Any] = self._execute_module(
            module_name="journal_postfix_tree",
            module_args={"dest": arguments["dest"], "files": files},
            task_vars=task_vars,
        )
        result.pop("invocation", None)
        return result
