"""Would the tests notice? Plant mistakes in the package, one at a time, and see which tests fail.

    python tests/mutate.py                          300 mistakes over all rooms; takes an hour
    python tests/mutate.py --only nn diffusion      in these rooms (or files) alone
    python tests/mutate.py --count 40 --seed 1      forty others
    python tests/mutate.py --reach FILE             keep what is learnt first, for the next time

All tests run once without a mistake, and reach.py writes down which functions each of them enters.
Then each mistake is planted in a copy of the project, and the tests that enter its function run,
the quickest first: the first failure kills it. Tests that start processes may enter any function.
A mistake outside of functions meets all tests. What no test has noticed is printed.
Some changes change nothing that anybody could see; they stand in tests/equivalent_mutants.txt,
each with the reason, and are left out. Layers for a GPU are tried only where CuPy is.
"""

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from conftest import processes_with
from mistakes import ROOT, mutants_of

EQUIVALENT = ROOT / "tests" / "equivalent_mutants.txt"
HANGS = 150  # seconds after which a test hangs, which is noticed, too, where pytest can end it
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no"]
ENDING = ["-o", f"faulthandler_timeout={HANGS}", "-o", "faulthandler_exit_on_timeout=true"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300, help="mistakes in all (300)")
    parser.add_argument("--seed", type=int, default=0, help="which of them (0)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="ROOM", help="rooms or files")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time (1)")
    parser.add_argument("--reach", metavar="FILE", help="which test enters what, if known")
    parser.add_argument("--list", action="store_true", help="only say which")
    arguments = parser.parse_args()
    mutants = chosen(arguments)
    if arguments.list:
        print(*mutants, sep="\n")
        return
    reach = reached(arguments.reach)
    killed, made = Counter(), Counter()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        tests = [witnesses(mutant, reach) for mutant in mutants]
        patience = [HANGS + 3 * sum(reach[test][0] for test in some) for some in tests]
        fates = pool.map(fate, mutants, tests, patience)
        for number, (mutant, by) in enumerate(zip(mutants, fates), 1):
            room = mutant.file.relative_to(ROOT).parent.as_posix()
            made[room] += 1
            killed[room] += bool(by)
            print(f"{number}/{len(mutants)} {by or 'SURVIVED'}  {mutant}", flush=True)
    print("\n| room | mistakes | noticed |\n|---|---|---|")
    for room in sorted(made):
        print(f"| {room} | {made[room]} | {killed[room]} |")
    sys.exit(killed != made)


def chosen(arguments):
    """The mutants to try: from each kind about as many, in any file of the rooms asked for."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    known = {line for line in lines if line and not line.startswith("#")}
    files = sorted((ROOT / "tinyddpm").rglob("*.py"))
    if not importlib.util.find_spec("cupy"):
        files = [f for f in files if f.name != "kernels.py" and not f.name.startswith("gpu_")]
    wanted = [f for f in files if any(f"/{only}" in f.as_posix() for only in arguments.only)]
    kinds = {}
    for mutant in (m for file in wanted for m in mutants_of(file) if m.key not in known):
        kinds.setdefault(mutant.kind, []).append(mutant)
    rng, some = random.Random(arguments.seed), []
    for of_a_kind in kinds.values():
        rng.shuffle(of_a_kind)
    while len(some) < arguments.count and any(kinds.values()):
        some += [of_a_kind.pop() for of_a_kind in kinds.values() if of_a_kind]
    return sorted(some[: arguments.count])


def reached(file):
    """{test: [seconds, the functions that it enters]}, of all tests that pass; kept in a file.

    How the project's files look is no matter.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(file or f"{folder}/reach.json").absolute()
        if answer.exists():
            return json.loads(answer.read_text(encoding="utf-8"))
        print("First the tests without a mistake:", flush=True)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        command = [*PYTEST, "-p", "reach", "--ignore=tests/test_house.py"]
        subprocess.run(command, cwd=ROOT, env={**environment, "REACH": str(answer)})
        return json.loads(answer.read_text(encoding="utf-8"))


def witnesses(mutant, reach):
    """The tests that may notice a mutant, the quickest first."""
    file = mutant.file.relative_to(ROOT / "tinyddpm").as_posix()
    there = {f"{file}:{mutant.function}", "*"}
    tests = [test for test in reach if not mutant.function or there & set(reach[test][1])]
    return sorted(tests, key=lambda test: reach[test][0])


def fate(mutant, tests, patience):
    """The test that notices a mutant, or "" if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "runs*"))
        planted = copy / mutant.file.relative_to(ROOT)
        source = planted.read_bytes()
        planted.write_bytes(source[: mutant.start] + mutant.text.encode() + source[mutant.stop :])
        names = Path(folder) / "tests.txt"
        names.write_text("\n".join(tests), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [*PYTEST, *ENDING, "-x", f"@{names}"], cwd=copy, env=environment,
                capture_output=True, text=True, timeout=patience,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "too slow"
        finally:
            for number in processes_with(os.fsencode(folder)):  # that tests started and left
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
    if done.returncode == 0:
        return ""
    if failed := re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE):
        return failed[1]
    return "a test that hangs" if "Timeout" in done.stderr else "the tests could not begin"


if __name__ == "__main__":
    main()
