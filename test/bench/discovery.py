"""Discovery: from `mailsync-mode' with no account configured to the accounts.

A configuration of mbsync's of about 500 lines, 25 accounts with a server, two stores and a channel each,
and their maildirs, in a home directory of its own, warm.  In a batch Emacs whose module is loaded the
question is asked again and again (`mailsync-discover'): until the answer is there, made into accounts; and
for how long asking keeps the main thread.  The CPU time is that of all threads, on average.  There is no alternative.
"""
import os
import statistics
import subprocess

from harness import EMACS, LISP, QUICK, Failed, Table, goal, lisp_file, new_name, progress

ACCOUNTS = 25
TIMES = 10 if QUICK else 100

ONE = """\
IMAPAccount account{0}
Host imap{0}.example.org
User me{0}@example.org
PassCmd "pass show {0}"
TLSType IMAPS

IMAPStore far{0}
Account account{0}

MaildirStore near{0}
Path ~/Mail/account{0}/
Inbox ~/Mail/account{0}/INBOX
SubFolders Verbatim

Channel account{0}
Far :far{0}:
Near :near{0}:
Patterns * !Spam
Create Both
SyncState *

"""


def main():
    progress("discovery")
    home = new_name("home")
    text = "".join(ONE.format(at) for at in range(ACCOUNTS))
    os.makedirs(home)
    with open(os.path.join(home, ".mbsyncrc"), "w") as file:
        file.write(text)
    for at in range(ACCOUNTS):
        for part in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(home, "Mail", f"account{at}", "INBOX", part))
    run = subprocess.run([EMACS, "-Q", "--batch", "-L", LISP, "-l", lisp_file("bench-discovery"),
                          "--eval", f"(bench-discovery {TIMES})"],
                         env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = [line.split() for line in run.stdout.splitlines() if line.startswith("took ")]
    cpu = [float(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("cpu ")]
    if len(lines) != TIMES + 1 or not cpu or any(int(line[3]) != ACCOUNTS for line in lines):
        raise Failed(f"discovery: {run.stdout}{run.stderr}")
    asking, all_of_it = ([float(line[at]) for line in lines[1:]] for at in (1, 2))
    result = Table("mailsync")
    lines = text.count("\n")
    median = statistics.median(all_of_it)
    result.row(f"{lines} lines, {ACCOUNTS} accounts, ms, median", [median], goal("< 50", median < 50))
    result.row("  the longest", [max(all_of_it)])
    result.row("  CPU, all threads, ms", cpu)
    result.row("  asking: main thread, ms, median", [statistics.median(asking)])
    result.print()
