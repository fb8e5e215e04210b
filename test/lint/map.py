"""Looks whether every file and folder that lib/README.md names is there."""

import glob
import pathlib
import re
import sys

MAP = pathlib.Path("lib/README.md")
ENDINGS = (".cpp", ".hpp", ".py", ".proto", ".*")


def names():
    """What stands in backquotes and looks like a path, and the folder that was named before it in its row."""
    for number, line in enumerate(MAP.read_text().splitlines(), 1):
        folder = ""
        for name in re.findall(r"`([^`\s]+)`", line):
            if "<" in name or not (name.endswith(ENDINGS) or name.endswith("/")):
                continue
            yield number, name, folder
            if "/" in name:
                folder = name.rpartition("/")[0]


def exists(name, folder):
    places = ["lib", "", f"lib/{folder}"]
    return any(glob.glob(str(pathlib.Path(place) / name)) for place in places) or (
        "/" not in name and glob.glob(f"lib/**/{name}", recursive=True))


def main():
    missing = [(number, name) for number, name, folder in names() if not exists(name, folder)]
    for number, name in missing:
        print(f"{MAP}:{number}: there is no {name}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
