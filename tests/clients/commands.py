"""Runs a script of `baremetal` commands and checks what each says.

    commands.py SCRIPT

The client is the unmodified one; most commands run in this one process, because starting Python takes a second. Where the API is
and how to log in is said by the environment (OS_ENDPOINT, OS_AUTH_TYPE, ...), as for the command line.

A script has blocks of a command and what is expected of it:

    $ baremetal node show n1            `$$`: as a process of its own
    = {"name": "n1"}                    standard output is JSON (-f json is added) that has at least this; "*": anything but null
    ~ ^Added trait                      standard output matches this pattern
    ! could not be found                standard error matches this pattern; the exit code is 1 unless told otherwise
    exit 2                              the exit code
    save NODE uuid                      keeps a value of the JSON for ${NODE} in later lines
    until 10                            is repeated until all that is so, for so many seconds

Nothing may be on standard output when nothing is said of it.
"""

import contextlib
import io
import json
import logging
import os
import re
import shlex
import string
import subprocess
import sys
import time
import warnings


class Block:
    def __init__(self, line, words, own_process):
        self.line, self.words, self.own_process = line, words, own_process
        self.json, self.out, self.err, self.saves = None, [], [], []
        self.exit, self.seconds = None, 0

    def arguments(self, known):
        words = [string.Template(word).safe_substitute(known) for word in self.words[1:]]
        return words + ["-f", "json"] if self.json is not None or self.saves else words

    def wanted_exit(self):
        return self.exit if self.exit is not None else 1 if self.err else 0


def read(path):
    blocks = []
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        if not line.strip() or line.startswith("#"):
            continue
        kind, _, rest = line.partition(" ")
        if kind in ("$", "$$"):
            blocks.append(Block(number, shlex.split(rest), kind == "$$"))
            continue
        block = blocks[-1]
        if kind == "=":
            block.json = rest
        elif kind == "~":
            block.out.append(rest)
        elif kind == "!":
            block.err.append(rest)
        elif kind == "exit":
            block.exit = int(rest)
        elif kind == "save":
            block.saves.append(rest.split())
        elif kind == "until":
            block.seconds = float(rest)
        else:
            sys.exit(f"{path}:{number}: what is {kind!r}?")
    return blocks


def in_this_process(arguments):
    from ironicclient import shell

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["baremetal", *arguments]
    # Each command gets a fresh logger, as each process would: their handlers hold on to standard error.
    for name in (None, "ironicclient", "openstack", "keystoneauth"):
        logging.getLogger(name).handlers.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.main(arguments)
        except SystemExit as end:
            code = end.code
    return code or 0, out.getvalue(), err.getvalue()


def as_process(arguments):
    program = os.path.join(os.path.dirname(sys.executable), "baremetal")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def lacks(wanted, have, at=""):
    """What of `wanted` is not in `have`."""
    if wanted == "*":
        return [] if have is not None else [f"{at}: null"]
    if isinstance(wanted, dict) and isinstance(have, dict):
        missing = [f"{at}/{key}: missing" for key in wanted if key not in have]
        return missing + [text for key in wanted if key in have for text in lacks(wanted[key], have[key], f"{at}/{key}")]
    if isinstance(wanted, list) and isinstance(have, list):
        if len(wanted) != len(have):
            return [f"{at}: {len(have)} items instead of {len(wanted)}"]
        return [text for n, (one, other) in enumerate(zip(wanted, have)) for text in lacks(one, other, f"{at}/{n}")]
    return [] if type(wanted) is type(have) and wanted == have else [f"{at}: {have!r} instead of {wanted!r}"]


def check(block, known, code, out, err):
    problems = []
    if code != block.wanted_exit():
        problems.append(f"exit code {code} instead of {block.wanted_exit()}")
    document = None
    if block.json is not None or block.saves:
        try:
            document = json.loads(out)
        except ValueError:
            problems.append("standard output is not JSON")
    elif not block.out and out.strip():
        problems.append("standard output is not empty")
    if block.json is not None and document is not None:
        problems += lacks(json.loads(string.Template(block.json).safe_substitute(known)), document)
    for patterns, text, name in ((block.out, out, "output"), (block.err, err, "error")):
        for pattern in patterns:
            pattern = string.Template(pattern.replace("$$", "$").replace("$", "$$").replace("$${", "${")).safe_substitute(known)
            if not re.search(pattern, text, re.MULTILINE):
                problems.append(f"standard {name} does not match {pattern!r}")
    for name, key in block.saves:
        if document is not None:
            document_value = document[0] if isinstance(document, list) else document
            known[name] = str(document_value[key])
    return problems


def run(block, known):
    deadline = time.monotonic() + block.seconds
    while True:
        code, out, err = (as_process if block.own_process else in_this_process)(block.arguments(known))
        problems = check(block, known, code, out, err)
        if not problems or time.monotonic() >= deadline:
            return problems, out, err
        time.sleep(0.1)


def main():
    warnings.simplefilter("ignore")
    path = sys.argv[1]
    blocks, known, failed = read(path), dict(os.environ), 0
    for block in blocks:
        started = time.monotonic()
        problems, out, err = run(block, known)
        if os.environ.get("VERBOSE"):
            print(f"{block.line} {time.monotonic() - started:.2f}s {' '.join(block.words)}", flush=True)
        if problems:
            failed += 1
            print(f"{path}:{block.line}: {' '.join(block.words)}\n    " + "\n    ".join(problems))
            print(f"  standard output:\n{out}\n  standard error:\n{err}", flush=True)
    print(f"{len(blocks)} commands, {failed} not as expected")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
