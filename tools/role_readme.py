"""Writes the table of variables in the role's README from its argument_specs: `.venv/bin/python tools/role_readme.py`.

Takes meta/argument_specs.yml; changes what stands between the two marks in roles/journal_postfix/README.md, and nothing
else. A test fails when it is not current.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROLE = Path(__file__).resolve().parents[1] / "roles/journal_postfix"
BEGIN = "<!-- made by tools/role_readme.py -->\n"
END = "<!-- end -->\n"


def _text(description: str | list[str]) -> str:
    """Give Ansible's C(…) as Markdown."""
    whole = description if isinstance(description, str) else " ".join(description)
    return re.sub(r"C\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", whole).replace("|", "\\|")


def _row(name: str, option: dict[str, Any]) -> str:
    kind = f"list of {option['elements']}" if option["type"] == "list" else option["type"]
    return f"| `{name}` | {kind} | `{json.dumps(option['default'])}` | {_text(option['description'])} |\n"


def render(specs: dict[str, Any]) -> str:
    """Give the tables: one for each playbook, without the variables that an earlier one has."""
    parts = []
    seen: set[str] = set()
    for entry, title in (("main", "site.yml"), ("import", "import.yml"), ("uninstall", "uninstall.yml")):
        spec = specs["argument_specs"][entry]
        rows = [_row(name, option) for name, option in spec["options"].items() if name not in seen]
        seen |= set(spec["options"])
        parts.extend(
            [
                f"### {title}: {spec['short_description'].lower()}\n",
                "| variable | type | default | |\n| --- | --- | --- | --- |\n",
            ]
        )
        parts.extend([*rows, "\n"])
    return "".join(parts)


def readme(current: str) -> str:
    """Give the README with the tables in it."""
    before, _, rest = current.partition(BEGIN)
    after = rest.partition(END)[2]
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    return f"{before}{BEGIN}{render(specs)}{END}{after}"


if __name__ == "__main__":
    path = ROLE / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
