#!/usr/bin/env python3
"""The serial console of a lab machine.

console.py SOCKET              the console in this terminal; Ctrl-] leaves it
console.py SOCKET COMMAND...   logs in to the demo image, runs the commands, shows what they print, logs out

Fails when a command fails or does not end.
"""

import codecs
import os
import re
import select
import socket
import sys
import termios
import time
import tty

USER, PASSWORD = "root", "bessemer"
LIMIT = 120  # seconds for each answer: an emulated machine is slow


def interactive(console: socket.socket) -> None:
    """Passes bytes both ways until Ctrl-]."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        console.sendall(b"\r")
        while True:
            ready, _, _ = select.select([0, console], [], [])
            if console in ready:
                data = console.recv(4096)
                if not data:
                    return
                os.write(1, data)
            if 0 in ready:
                data = os.read(0, 4096)
                if not data or b"\x1d" in data:
                    return
                console.sendall(data)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        print()


class Session:
    """A dialogue: send a line, wait for a text."""

    def __init__(self, console: socket.socket) -> None:
        self.console = console
        self.seen = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits for `pattern`; what came before it is gone afterwards."""
        end = time.monotonic() + LIMIT
        while not (match := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.console], [], [], left)[0]:
                sys.exit(f"console: no {pattern!r} within {LIMIT} s; there was: {self.seen[-2000:]!r}")
            data = self.console.recv(4096)
            if not data:
                sys.exit("console: the machine is gone")
            text = self.decoder.decode(data).replace("\r", "")
            self.seen = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", self.seen + text)
        self.seen = self.seen[match.end() :]
        return match

    def send(self, line: str) -> None:
        """Types a line."""
        self.console.sendall(line.encode() + b"\r")

    def run(self, command: str) -> None:
        """Runs a command in the shell and shows its output."""
        # The marks are typed in two parts, so that the echo of the line is not taken for them.
        self.send(f"echo BEG''IN; {command}; echo EN''D=$?")
        self.expect("BEGIN\n")
        match = self.expect(r"(?s)(.*?)END=(\d+)\n")
        print(f"  # {command}")
        for line in match[1].splitlines():
            print(f"  {line}")
        if match[2] != "0":
            sys.exit(f"console: {command} failed with exit code {match[2]}")


def main() -> None:
    """Connects and does what the arguments say."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    console = socket.socket(socket.AF_UNIX)
    try:
        console.connect(sys.argv[1])
    except OSError as error:
        sys.exit(f"console: cannot connect to {sys.argv[1]}: {error}")
    if len(sys.argv) == 2:
        interactive(console)
        return
    session = Session(console)
    session.send("")
    session.expect("login: ")
    session.send(USER)
    session.expect("assword: ")
    session.send(PASSWORD)
    session.expect(r"# ")
    session.send("TERM=dumb; stty cols 200")
    for command in sys.argv[2:]:
        session.run(command)
    session.send("logout")


main()
