"""Holds the table of who may include whom (lib/README.md) against the #include lines, looks for circles of folders,
and holds the one door to an architecture (vmm/arch/arch.hpp) against the names behind it."""

import pathlib
import re
import sys

# A folder and what its files may include of the project, besides their own folder. The longest
# prefix that fits decides. "microvm" is include/microvm.
BASE = ["base", "wire", "microvm/error.hpp"]
AGENT = ["wire", "base", "microvm/error.hpp"]
RULES = {
    "lib/base": ["microvm/error.hpp"],
    "lib/wire": ["base", "microvm/error.hpp"],
    "lib/sys": BASE,
    "lib/state": BASE + ["sys"],
    "lib/agent/base": AGENT,
    "lib/agent/link": AGENT + ["agent/base"],
    "lib/agent/network": AGENT + ["agent/base"],
    "lib/agent/program": AGENT + ["agent/base", "agent/link", "agent/network"],
    "lib/agent/clone": AGENT + ["agent/base", "agent/link"],
    "lib/agent/boot": AGENT + ["agent/base", "agent/link", "agent/network"],
    "lib/agent/session": AGENT + ["agent/base", "agent/link", "agent/program"],
    "lib/agent/files": AGENT + ["agent/base", "agent/link", "agent/program/user.hpp"],
    "lib/agent/operation": AGENT + ["agent/base", "agent/link", "agent/program", "agent/clone",
                                    "agent/network", "agent/session", "agent/files"],
    "lib/agent": AGENT + ["agent"],
    "lib/vmm/kvm": BASE + ["vmm/memory"],
    "lib/vmm/memory": BASE + ["sys", "state"],
    "lib/vmm/arch": BASE + ["sys", "state", "vmm/kvm", "vmm/memory"],
    "lib/vmm/platform": BASE + ["vmm/memory", "vmm/virtio/irq.hpp"],
    "lib/vmm/disk": BASE + ["sys", "state"],
    "lib/vmm/virtio": BASE + ["sys", "state", "vmm/memory", "vmm/disk"],
    "lib/vmm/machine": BASE + ["sys", "state", "vmm/arch/arch.hpp", "vmm/kvm", "vmm/memory",
                               "vmm/platform", "vmm/virtio"],
    "lib/vmm/snapshot": BASE + ["sys", "state", "vmm/arch/arch.hpp", "vmm/memory", "vmm/platform",
                                "vmm/machine"],
    "lib/vmm/control": BASE + ["sys", "state", "vmm/arch/arch.hpp", "vmm/disk", "vmm/machine",
                               "vmm/platform", "vmm/snapshot", "vmm/virtio"],
    "lib/vmm": BASE + ["sys", "vmm/control"],
    "lib/net/names": BASE,
    "lib/net/dns": BASE + ["net/names"],
    "lib/net/policy": BASE + ["net/names"],
    "lib/net/space": BASE + ["sys"],
    "lib/net/flow": BASE + ["sys", "net/names", "net/policy", "net/space"],
    "lib/net/resolve": BASE + ["sys", "net/dns", "net/flow", "net/policy", "net/space"],
    "lib/net/control": BASE + ["sys", "net"],
    "lib/net": BASE + ["sys", "net/control"],
    "lib/host/base": BASE + ["microvm"],
    "lib/host/store": BASE + ["sys", "state", "microvm", "host/base"],
    "lib/host/image": BASE + ["sys", "state", "microvm", "host/base", "host/store"],
    "lib/host/saved": BASE + ["sys", "state", "microvm", "host/base", "host/store", "host/network"],
    "lib/host/session": BASE + ["sys", "microvm", "host/base"],
    "lib/host/idle": BASE + ["microvm", "host/base", "host/session/agent_client.hpp"],
    "lib/host/transfer": BASE + ["microvm", "host/base", "host/session", "host/store/files.hpp",
                                 "host/image/archive_reader.hpp"],
    "lib/host/network": BASE + ["sys", "microvm", "host/base", "host/store"],
    "lib/host/worker": BASE + ["sys", "state", "microvm", "host/base", "host/store", "host/saved",
                               "host/session", "host/image", "host/network"],
    "lib/host/vm": BASE + ["sys", "state", "microvm", "host/base", "host/store", "host/saved",
                           "host/worker", "host/session", "host/image", "host/idle",
                           "host/transfer", "host/network"],
    "lib/host": BASE + ["sys", "state", "microvm", "host/base", "host/store", "host/image",
                        "host/saved", "host/worker", "host/vm", "host/network", "host/prune.hpp"],
    "include/microvm": ["microvm"],
    "capi": ["microvm"],
    "examples": ["microvm"],
    "bench/bindings": ["microvm", "../report.hpp"],
    "bench": ["microvm"],
}
# Names of one architecture, and who in lib/vmm may use them: the rest goes by vmm/arch/arch.hpp.
ARCHITECTURE = re.compile(r"\b(x86_64|layout)::|\b(X86|AUDIT_ARCH_)")
ARCHITECTURE_FOLDERS = ("lib/vmm/arch/", "lib/vmm/kvm/")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def rule_for(path):
    parts = path.parts[:-1]
    for length in range(len(parts), 0, -1):
        prefix = "/".join(parts[:length])
        if prefix in RULES:
            return prefix, RULES[prefix]
    return None, None


def allowed(path, included):
    prefix, rule = rule_for(path)
    if rule is None:
        return True
    own = prefix.removeprefix("lib/").removeprefix("include/")
    if included.startswith(own + "/"):
        return True
    if "/" not in included:
        places = (pathlib.Path(path).parent, pathlib.Path(prefix))
        return included.endswith(".pb.h") or any((place / included).exists() for place in places)
    return any(included == item or included.startswith(item + "/") for item in rule)


def folder_of(included):
    """The folder of lib/ that an #include names, as in RULES; None for others."""
    prefix, _ = rule_for(pathlib.Path("lib") / included)
    return prefix


def find_circle(edges):
    """A path of folders that comes back to where it began, or an empty one."""
    done = set()

    def walk(folder, path):
        if folder in path:
            return path[path.index(folder):] + [folder]
        if folder in done:
            return []
        for included in sorted(edges.get(folder, ())):
            circle = walk(included, path + [folder])
            if circle:
                return circle
        done.add(folder)
        return []

    for folder in sorted(edges):
        circle = walk(folder, [])
        if circle:
            return circle
    return []


def names_an_architecture(path, line):
    name = str(path)
    if not name.startswith("lib/vmm/") or name.startswith(ARCHITECTURE_FOLDERS):
        return False
    return ARCHITECTURE.search(line.split("//")[0]) is not None


def main():
    wrong = 0
    edges = {}
    for folder in ("lib", "include", "capi", "examples", "bench"):
        for path in sorted(pathlib.Path(folder).rglob("*.[ch]pp")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if names_an_architecture(path, line):
                    print(f"{path}:{number}: only vmm/arch and vmm/kvm name an architecture")
                    wrong += 1
                found = INCLUDE.match(line)
                if not found:
                    continue
                if not allowed(path, found[1]):
                    print(f"{path}:{number}: {path.parent} must not include {found[1]}")
                    wrong += 1
                own, included = rule_for(path)[0], folder_of(found[1])
                if folder == "lib" and included and included != own:
                    edges.setdefault(own, set()).add(included)
    circle = find_circle(edges)
    if circle:
        print("folders include each other in a circle: " + " -> ".join(circle))
        wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
