#!/usr/bin/env python3
"""Compares the instructions of the CPU kernels' inner loops with those that are committed.

    check_kernel_counts.py results/kernel_counts.json [--write] avx2.cpp.o avx512.cpp.o ...

An inner loop is what a jump backwards encloses and no other such loop lies in. Of each function the
instructions of its inner loops with products or conversions are added up, and the products among
them: an instruction more per product is a regression that no clock has to be asked about. The
counts are of one compiler; with another the test is skipped (exit 77).
"""
import json
import pathlib
import re
import subprocess
import sys

TOLERANCE = 0.03
PRODUCT = re.compile(r"^(vfn?madd|vmulps|vpermps|tdp|mulss|mulps|vcvtne2ps2bf16|vpternlog)")
LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)\s*(.*)$")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions(path):
    """Name -> instructions (address, mnemonic, operands)."""
    found, name = {}, None
    for line in output("objdump", "-d", "-C", "--no-show-raw-insn", path).splitlines():
        if match := FUNCTION.match(line):
            name = match.group(1)
            found[name] = []
        elif name and (match := LINE.match(line)):
            found[name].append((int(match.group(1), 16), match.group(2), match.group(3)))
    return found


def inner_loops(instructions):
    jumps = [(int(target.group(1), 16), address) for address, mnemonic, operands in instructions
             if mnemonic.startswith("j") and (target := re.match(r"([0-9a-f]+)", operands))]
    loops = [(first, last) for first, last in jumps if first <= last]
    return [loop for loop in loops
            if not any(loop != other and loop[0] <= other[0] and other[1] <= loop[1] for other in loops)]


def count(path):
    counts = {}
    for name, instructions in functions(path).items():
        inside = [mnemonic for first, last in inner_loops(instructions)
                  for address, mnemonic, _ in instructions if first <= address <= last]
        products = sum(bool(PRODUCT.match(mnemonic)) for mnemonic in inside)
        if products >= 8:
            counts[name] = {"instructions": len(inside), "products": products}
    return counts


def compiler(path):
    return "; ".join(sorted(set(re.findall(r"GCC: \(.*?\) [\d.]+|clang version [\d.]+",
                                           output("readelf", "-p", ".comment", path)))))


def differences(before, now):
    for unit in sorted(before.keys() | now.keys()):
        old, new = before.get(unit, {}), now.get(unit, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in new or name not in old:
                yield f"{unit}: {name} is {'gone' if name in old else 'new'}"
                continue
            for what, number in old[name].items():
                if abs(new[name][what] - number) > max(2, TOLERANCE * number):
                    yield f"{unit}: {name} has {new[name][what]} {what} in its inner loops, had {number}"


def main(path, *arguments):
    objects = [argument for argument in arguments if argument != "--write"]
    now = {"compiler": compiler(objects[0]),
           "units": {pathlib.Path(o).name.split(".")[0]: count(o) for o in objects}}
    if "--write" in arguments:
        pathlib.Path(path).write_text(json.dumps(now, indent=1) + "\n")
        return 0
    before = json.loads(pathlib.Path(path).read_text())
    if before["compiler"] != now["compiler"]:
        print(f"the counts are of {before['compiler']}, this is {now['compiler']}")
        return 77
    found = list(differences(before["units"], now["units"]))
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        print(f"if that is meant: tools/check_kernel_counts.py {path} --write OBJECTS, and commit it")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
