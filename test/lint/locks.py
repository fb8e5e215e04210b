"""Has clang check the lock rules of lib/base/thread_annotations.hpp, in every file that uses them.

Usage: test/lint/locks.py [BUILD_DIRECTORY]. Exit status 77, and the reason, when there is no build
to take the include paths from: some headers are generated.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys

CLANG = "clang++-19"
SKIPPED = 77
USES = "MICROVM_(GUARDED_BY|REQUIRES|EXCLUDES)"
DEFINITIONS = "lib/base/thread_annotations.hpp"


def files_that_use_them():
    found = subprocess.run(["git", "grep", "--untracked", "-lE", USES, "--", "*.cpp", "*.hpp"],
                           capture_output=True, text=True)
    return sorted(set(found.stdout.split()) - {DEFINITIONS})


# A class's functions are in the .cpp beside its header.
def sources_of(files):
    sources = set()
    for name in files:
        source = pathlib.Path(name).with_suffix(".cpp")
        sources.add(str(source) if source.exists() else name)
    return sorted(sources)


def commands(build):
    """Of each compilation: the folder it builds for, relative to here, its directory and its words."""
    entries = json.loads((build / "compile_commands.json").read_text())
    return [(os.path.relpath(os.path.join(entry["directory"], entry["file"])),
             pathlib.PurePath(entry["output"]).parent.parent,
             entry["directory"], shlex.split(entry["command"])) for entry in entries]


def command_for(source, known):
    """Its own, or, where files are compiled a dozen at a time, one of the same folder's target."""
    for file, _, directory, words in known:
        if file == source:
            return directory, words
    near = [entry for entry in known if pathlib.PurePath(source).is_relative_to(entry[1])]
    if not near:
        return None
    return max(near, key=lambda entry: len(entry[1].parts))[2:]


# What says where headers are and what is defined; warnings are the compilers' own business.
def wanted(arguments):
    return [word for word in arguments if word.startswith(("-I", "-isystem", "-D", "-std="))]


def check(source, directory, arguments):
    command = [CLANG, "-fsyntax-only", "-Wno-everything", "-Wthread-safety",
               "-Werror=thread-safety", *wanted(arguments), os.path.relpath(source, directory)]
    return subprocess.run(command, cwd=directory).returncode == 0


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build")
    generated = list(build.glob("lib/wire/*.pb.h"))
    if not (build / "compile_commands.json").exists() or not generated:
        print(f"there is no build in {build}: run meson setup {build} && ninja -C {build}")
        return SKIPPED
    known = commands(build)
    wrong = 0
    for source in sources_of(files_that_use_them()):
        command = command_for(source, known)
        if command is None:
            print(f"{source}: not in the build, so its locks are not checked")
            wrong += 1
        elif not check(source, *command):
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
