"""Reads microvm.h, simply: it is written to be read so (capi/README.md). Writes to stdout what test/capi/abi compiles
or compares.

Usage: surface.py functions HEADER   the names of its functions
       surface.py stubs HEADER       a C file that defines each, for a library that has the header's types and no more
       surface.py layout HEADER      a C program that prints enum values, struct sizes and the fields' offsets
"""

import re
import sys


def declarations(path):
    text = open(path, encoding="utf-8").read()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"\\\n", " ", text)
    return re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)


def functions(text):
    """Name -> its prototype, without what says that it is exported."""
    found = {}
    for match in re.finditer(r"^MVM_API\s+([^;{}]*?\b(mvm_\w+)\s*\([^;{}]*\))\s*;", text, re.M):
        found[match[2]] = re.sub(r"\s+", " ", match[1])
    return found


def enum_constants(text):
    for body in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", text):
        for constant in body.split(","):
            name = re.match(r"\s*(\w+)", constant)
            if name:
                yield name[1]


def structs(text):
    """Name -> fields; of those that the header defines."""
    return {match[1]: [field_name(field) for field in match[2].split(";") if field.strip()]
            for match in re.finditer(r"\bstruct\s+(mvm_\w+)\s*\{([^}]*)\}", text)}


def field_name(field):
    match = re.search(r"\(\s*\*\s*(\w+)\s*\)", field) or re.search(r"(\w+)\s*(?:\[[^\]]*\])?\s*$", field)
    return match[1]


def stubs(text):
    """`trap` as no function needs a value then."""
    lines = ['#include "microvm.h"']
    lines += [f"{prototype} {{ __builtin_trap(); }}" for prototype in functions(text).values()]
    return "\n".join(lines)


def layout(text):
    lines = ['#include <stddef.h>', '#include <stdio.h>', '#include "microvm.h"', "int main(void) {"]
    for name in enum_constants(text):
        lines.append(f'  printf("{name} = %lld\\n", (long long){name});')
    for name, fields in structs(text).items():
        lines.append(f'  printf("struct {name}: %zu bytes\\n", sizeof(struct {name}));')
        for field in fields:
            lines.append(f'  printf("  {field} at %zu, %zu bytes\\n", offsetof(struct {name}, {field}),'
                         f" sizeof(((struct {name} *)0)->{field}));")
    return "\n".join([*lines, "  return 0;", "}"])


def main():
    text = declarations(sys.argv[2])
    what = {"functions": lambda text: "\n".join(sorted(functions(text))), "stubs": stubs, "layout": layout}
    print(what[sys.argv[1]](text))


if __name__ == "__main__":
    main()
