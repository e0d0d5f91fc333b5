"""Looks up known weaknesses of the installed packages with pip-audit: exit code 1 if there is one.

Where the database cannot be asked, for want of a network, it says so, and that is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def main() -> int:
    """Audit the packages of this environment."""
    words = [sys.executable, "-m", "pip_audit", "--local", "--format=json", "--progress-spinner=off", "--timeout=15"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        print(f"audit: nothing was looked up, pip-audit could not ask its database ({type(error).__name__})")
        return 0
    looked_up = [package for package in found if "vulns" in package]
    weak = [package for package in looked_up if package["vulns"]]
    for package in weak:
        for weakness in package["vulns"]:
            mended = ", ".join(weakness.get("fix_versions", ())) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {weakness['id']}, mended in {mended}")
    unknown = f"{len(found) - len(looked_up)} not in the database"
    print(f"audit: {len(looked_up)} packages looked up, {len(weak)} with known weaknesses, {unknown}")
    if not looked_up:
        print("audit: nothing was looked up: no network, or an index that does not have the database")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
