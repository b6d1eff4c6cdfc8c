#!/usr/bin/env python3
"""Deliver messages as an MDA does, each to a random folder: write into tmp/, rename into new/.

    feeder.py LINKS [--interval SECONDS] [--count N] [--only NAME]

LINKS is a directory of symlinks to Maildirs, one a folder.  For each message one line goes out,
just before the rename: the time (seconds since 1970) and the folder's name.  Without --count it
goes on until nobody reads that line any more.
"""
import argparse
import os
import random
import sys
import time
from email.utils import formatdate

SENDERS = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Radia", "Ken", "Margaret"]
SUBJECTS = ["Lunch?", "Re: the patch", "Minutes", "A question about threads", "Photos",
            "Release candidate", "Your ticket", "Re: Re: naming things"]


def deliver(maildir, name, serial):
    unique = f"{time.time_ns()}.M{serial}P{os.getpid()}.demo"
    tmp = os.path.join(maildir, "tmp", unique)
    sender = random.choice(SENDERS)
    with open(tmp, "w", encoding="utf-8") as file:
        file.write(f"From: {sender} <{sender.lower()}@example.invalid>\n"
                   "To: user@example.invalid\n"
                   f"Subject: {random.choice(SUBJECTS)}\n"
                   f"Message-ID: <{unique}@example.invalid>\n"
                   f"Date: {formatdate(localtime=True)}\n"
                   "\nDelivered by mailsync's demo.\n")
    if os.getuid() == 0:  # so that a Dovecot that runs as the Maildir's owner can read it
        owner = os.stat(maildir)
        os.chown(tmp, owner.st_uid, owner.st_gid)
    print(f"{time.time():.6f} {name}", flush=True)
    os.rename(tmp, os.path.join(maildir, "new", unique))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("links")
    parser.add_argument("--interval", type=float, default=3)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--only", help="this folder, not a random one")
    args = parser.parse_args()
    names = [args.only] if args.only else sorted(os.listdir(args.links))
    serial = 0
    while not args.count or serial < args.count:
        if serial:
            time.sleep(args.interval)
        serial += 1
        name = random.choice(names)
        deliver(os.path.realpath(os.path.join(args.links, name)), name, serial)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()
