"""A program that introduces itself and then behaves as its first argument says; for the tests of programs as subjects.

The second argument, if there is one, is a file to which it adds its process number when it starts.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

GOOD = {"shape": [1, 3], "data": [1, 2, 3]}
PARTIAL = {
    "0/hidden1/output": {"shape": [1, 3], "data": [1, 2]},
    "0/hidden1/grad_input": {"shape": [2, 1], "data": [1, 2]},
    "0/sigmoid1/output": {"dtype": "float16", **GOOD},
    "0/sigmoid1/grad_input": {"dtype": "float8", **GOOD},
    "0/hidden2/output": [1, 2],
    "0/hidden2/grad_input": {"shape": [1, 3], "data": ["NaN", "Infinity", 1]},
    "0/conv9/output": GOOD,
    "nonsense": GOOD,
    "0/hidden1/weight.grad": GOOD,
}


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def complain(text, then):
    sys.stderr.write(text)
    then()


def endless():
    while True:
        say("0" * 65536)


def leave_a_child():
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(3)


def stop_halfway():
    say('{"id": 1, "trace": {"0/0/out')
    sys.exit(0)


def wait_with_half_a_line():
    say('{"id": 1, "trace": {"0/0/out')
    time.sleep(1000)


def answer(id=1, **fields):
    say(json.dumps({"id": id, **fields}) + "\n")


MANNERS = {
    "exits": lambda: complain("first line\nno more memory\n\n", lambda: sys.exit(7)),
    "segfaults": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hangs": lambda: time.sleep(1000),
    "talks": lambda: say("computing layer 0 ...\n"),
    "stops halfway": stop_halfway,
    "never ends a line": endless,
    "leaves a child": leave_a_child,
    "waits with half a line": wait_with_half_a_line,
    "many lines": lambda: say('{\n "id": 1,\n "trace": {}\n}\n'),
    "C's infinity": lambda: say('{"id": 1, "trace": {"a": {"shape": [1], "data": [-inf]}}}\n'),
    "a comma too much": lambda: say('{"id": 1, "trace": {"a": {"shape": [1], "data": [1,]}}}\n'),
    "another id": lambda: answer(2, trace={}),
    "a text as id": lambda: answer("1", trace={}),
    "no id": lambda: say('{"trace": {}}\n'),
    "no object": lambda: say("1.25\n"),
    "nan": lambda: answer(trace={"0/0/output": {"shape": [1], "data": [float("nan")]}}),
    "error": lambda: answer(error="out of registers"),
    "no such file": lambda: answer(trace="/no/such/file"),
    "partial": lambda: answer(trace=PARTIAL),
    "noise": lambda: complain("x" * 1_000_000, lambda: answer(unsupported="after a lot of noise")),
}
# Of these more than one case is asked.
CIVIL = {"nothing": {"trace": {}}, "says so": {"unsupported": "no layers at all"}}
HELLOS = {
    "old": {"protocol": 0, "name": "old"},
    "nameless": {"protocol": 1},
    "boasts": {"protocol": 1, "name": "rude", "colour": "red"},
}

if __name__ == "__main__":
    manner = sys.argv[1]
    if len(sys.argv) > 2:
        with Path(sys.argv[2]).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if manner == "mute":
        time.sleep(1000)
    sys.stdin.readline()
    say(json.dumps(HELLOS.get(manner, {"protocol": 1, "name": "rude"})) + "\n")
    for line in sys.stdin:
        if manner in CIVIL:
            answer(id=json.loads(line)["id"], **CIVIL[manner])
        else:
            MANNERS[manner]()
