#!/usr/bin/env python3
"""Plant bugs in the pure machines, one at a time, and let the simulator find them.

    test/planted.py [NAME...]        (default: all; with PLANTED=3, so many of them, by chance, or by SEED)

Each is a piece of the sources that is replaced in a copy of the tree.  The simulator has to fail
within SEEDS seeds (default 1000), and without any bug it must not.  The last line counts; the
exit code is not 0 if a bug was not found.  That takes a build for each: `make torture'.

A bug may have a case among the simulator's (test/sim/cases): a life that shows it.  Where lives have
changed so that it does no longer, that is said.  With KEEP=1 the shortest life that shows a bug which
has no such case, or none any more, becomes one.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
COPY = TOP / "target" / "planted"
SEEDS = os.environ.get("SEEDS", "1000")
KEEP = os.environ.get("KEEP") == "1"
# A case has no more.
FEW_STEPS = 300
CASES = "cases::what_failed_once_does_not_fail"

# What the bug is, where, what is replaced, and by what.
BUGS = {
    # changes, on their way to Lisp
    "a folder that is never quiet is never told": (
        "src/coalesce.rs",
        "held.due = (now + quiet).min(held.first + longest);",
        "held.due = now + quiet;",
    ),
    "kinds of a folder do not add up": (
        "src/coalesce.rs",
        "held.change.absorb(change);",
        "held.change = change;",
    ),
    "a folder that goes along loses its change": (
        "src/coalesce.rs",
        "due.extend(held.map(|held| held.change));",
        "due.extend(held.filter(|held| held.due <= now).map(|held| held.change));",
    ),
    "what was in flight when the pipe broke is forgotten": (
        "src/notifier/mod.rs",
        "self.changes.insert(place(&change.folder), change);\n        }\n        // Before",
        "drop(change);\n        }\n        // Before",
    ),
    "any acknowledgement will do": (
        "src/notifier/mod.rs",
        "let ours = generation == self.generation\n            && (",
        "let ours = self.attached\n            || (",
    ),
    "a change that waits is replaced by a later one": (
        "src/notifier/mod.rs",
        "Some(waiting) => waiting.absorb(change),",
        "Some(waiting) => *waiting = change,",
    ),
    "what a look finds in a maildir is told, and not synced": (
        "src/engine/core/watching.rs",
        "by_anyone(folder, Kinds::UNKNOWN);",
        "let quietly = Happened { open: Kinds::empty(), ..Happened::by_anyone(Kinds::UNKNOWN) };\n"
        "                tell(&mut self.accounts, &mut self.serial, (now, now), folder, quietly);",
    ),
    "a new pipe does not put everything in doubt": (
        "src/engine/core/mod.rs",
        "if generation > 1 {\n            self.doubt(now, None, None);\n        }",
        "let _ = generation > 1;",
    ),
    "nobody looks after a sleep": (
        "src/engine/core/mod.rs",
        "self.rouse(Depth::Everything, |_| true);",
        "",
    ),
    # when an account is synced
    "a change during a run is taken for done": (
        "src/schedule/pending.rs",
        "self.waiting.retain(|_, it| it.last > moment);",
        "self.waiting.clear();",
    ),
    "what a failed run was to sync is forgotten": (
        "src/schedule/outcome.rs",
        "self.queue.again(run.folders, &self.timing);",
        "drop(run.folders);",
    ),
    "a whole run that fails is not repeated": (
        "src/schedule/outcome.rs",
        "if let Some(whole) = run.whole {\n            self.whole",
        "if let Some(whole) = run.whole.filter(|_| false) {\n            self.whole",
    ),
    "a folder that failed alone counts as pushed": (
        "src/schedule/outcome.rs",
        "for real in &ended.failed {\n            self.records.fail_alone(real);\n        }",
        "",
    ),
    "a sync does not wait for the check": (
        "src/schedule/next.rs",
        "let checked = checked.map(|first| first.min(wanted) + self.timing.check);",
        "let checked = checked.map(|_| wanted);",
    ),
    "a silent Lisp is waited for without end": (
        "src/schedule/next.rs",
        "let checked = checked.map(|first| first.min(wanted) + self.timing.check);",
        "let checked = checked.map(|_| now + self.timing.check);",
    ),
    "a run starts without the lock": (
        "src/schedule/mod.rs",
        "self.begun && self.pause.is_none() && self.lock == Lock::Ours",
        "self.begun && self.pause.is_none()",
    ),
    "a run starts during a pause": (
        "src/schedule/mod.rs",
        "self.begun && self.pause.is_none() && self.lock == Lock::Ours",
        "self.begun && self.lock == Lock::Ours",
    ),
    "a silent run is never ended": (
        "src/schedule/mod.rs",
        "Stage::Running(sign) if silence.is_some_and(|silence| sign + silence <= now) => {",
        "Stage::Running(sign) if silence.is_some_and(|_| sign > now) => {",
    ),
    "a run that slept is not ended": (
        "src/schedule/mod.rs",
        "run.stage = Stage::Slept;",
        "",
    ),
    "a second refusal does not pause": (
        "src/schedule/outcome.rs",
        "if self.refusals > 1 && self.pause.is_none() {",
        "if self.refusals > 1_000_000 && self.pause.is_none() {",
    ),
    "failures do not back off": (
        "src/schedule/outcome.rs",
        "Some(now + self.backoff())",
        "Some(now)",
    ),
    "folders made or removed are synced by name": (
        "src/schedule/pending.rs",
        "pending.whole.get_or_insert(moment);\n            pending.made",
        "pending.made",
    ),
    # what is not pushed yet
    "one look is enough for a residue": (
        "src/schedule/record.rs",
        "let again = differences.are_among(&record.refused) && differences.are_among(&given);",
        "let again = true;",
    ),
    "a look that was disturbed counts": (
        "src/schedule/review.rs",
        "let disturbed = self.queue.is_local(&folder.real);",
        "let disturbed = false;",
    ),
    "what a look finds is not pushed": (
        "src/schedule/review.rs",
        "self.queue.open(now, folder, &self.timing);",
        "let _ = now;",
    ),
    "a residue that is gone is remembered": (
        "src/schedule/record.rs",
        "known.retain(differences);",
        "let _ = &known;",
    ),
    # who has written it
    "any process is ours": (
        "src/echo.rs",
        "if ours(*pid) {",
        "if ours(*pid) || *pid > 0 {",
    ),
    "flags of a reader are taken for a look": (
        "src/echo.rs",
        "if !old.has_the_letters_of(&new) {\n        return Claim::Nothing;\n    }",
        "",
    ),
    # what happens at a server
    "what is known of a server is not handed on": (
        "src/remote/imap/keeper.rs",
        "self.snapshot = snapshot;",
        "drop(snapshot);",
    ),
    "a secret that was refused is given again": (
        "src/remote/imap/keeper.rs",
        "self.secret = None;\n                self.refused = true;",
        "self.refused = true;",
    ),
    "what a lost connection has told hides what happens later": (
        "src/remote/imap/session/mailboxes.rs",
        "self.told.remove(name);",
        "",
    ),
    "a sweep tells nobody what is gone": (
        "src/remote/imap/session/sweep.rs",
        "self.acts.push(Act::Change(name, Kinds::DELETED));",
        "drop(name);",
    ),
    "a watcher that folders have ended is not run again": (
        "src/remote/watcher.rs",
        "self.tries.failures = 1;\n            self.tries.again(now);",
        "self.tries.failures = 1;",
    ),
    "a watcher that went well has failed as often as before": (
        "src/remote/watcher.rs",
        "self.tries.failures = 0;\n        }\n        let code",
        "}\n        let code",
    ),
    "a server of which anything may have changed is not synced": (
        "src/engine/core/remotes.rs",
        "keeper::Act::Everything => self.everything_there(now, account),",
        "keeper::Act::Everything => {}",
    ),
    "a watcher that has missed something is believed": (
        "src/engine/core/remotes.rs",
        "remote.watched = true;\n                    }\n                    self.everything_there(now, account);",
        "remote.watched = true;\n                    }",
    ),
    # maildirs
    "what is kept from Lisp during a run is never told": (
        "src/engine/core/kept.rs",
        "// The same history is told in the same order.",
        "free.clear();",
    ),
    "what comes while something is kept is not told": (
        "src/engine/core/kept.rs",
        "kept.absorb(change);",
        "let _ = kept;",
    ),
    # what is passed on to other programs
    "what was checked is passed on to nobody": (
        "src/listen/ledger.rs",
        "self.told.push(Told::Change(spot, kept.kinds));",
        "drop((spot, kept));",
    ),
    "what is passed on does not wait for the check": (
        "src/listen/ledger.rs",
        "let overdue = |entry: &Entry| entry.since + timeout <= now;",
        "let overdue = |entry: &Entry| entry.since + timeout / 2 <= now;",
    ),
    "an answer stands for what came after it": (
        "src/listen/ledger.rs",
        "if serial >= entry.serials.1 {",
        "if serial >= entry.serials.0 {",
    ),
    "a Lisp that is back has always been there": (
        "src/listen/ledger.rs",
        "entry.since = now;\n            }",
        "let _ = entry;\n            }",
    ),
    "a Lisp that answers is silent": (
        "src/listen/ledger.rs",
        "let alive = |entry: &Entry| answered.is_some_and(|at| at >= entry.since);",
        "let alive = |_: &Entry| answered.is_none();",
    ),
    "a Lisp that was silent is so for ever": (
        "src/listen/ledger.rs",
        "if self.silent {\n            self.silent = false;",
        "if self.silent {\n            self.silent = true;",
    ),
    "who listens anew is not told what is watched": (
        "src/listen/ledger.rs",
        "self.roots = None;\n        if",
        "if",
    ),
    "a half of a rename waits for ever": (
        "src/watch/inbox.rs",
        "now.saturating_duration_since(since) >= HALF_LIFE;",
        "since > now;",
    ),
}


def run(args, **more):
    return subprocess.run(args, cwd=COPY, capture_output=True, text=True, errors="replace", **more)


def copy():
    """The tree as git knows it, with what was built of it before."""
    COPY.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(
        ["git", "ls-files", "Cargo.toml", "Cargo.lock", "src", "test", "rust-toolchain*", ".cargo"],
        cwd=TOP, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    for directory in "src", "test":
        shutil.rmtree(COPY / directory, ignore_errors=True)
    for name in names:
        to = COPY / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists() or to.read_bytes() != (TOP / name).read_bytes():
            # As of now: cargo must not take it for older than what was built with a bug in it.
            shutil.copy(TOP / name, to)


def kinds(file):
    """The tests of the simulator, those first that live with what is in this file."""
    syncs, looks, maildirs, imap = "syncs::seeds", "syncs::seeds_that_are_looked_at", "seeds", "imap::seeds"
    listened = "syncs::seeds_that_are_listened_to"
    if "ledger" in file:
        return [listened, syncs, maildirs, looks, imap]
    if "imap" in file or "remotes" in file:
        return [imap, syncs, maildirs, looks, listened]
    if any(word in file for word in ("schedule", "echo", "watcher", "kept")):
        return [syncs, looks, maildirs, imap, listened]
    return [maildirs, syncs, looks, imap, listened]


def case_of(name):
    """The case that shows a bug, if there is one."""
    cases = (TOP / "test" / "sim" / "cases").iterdir()
    # Before the name is the kind of its life.
    its = (case for case in cases if case.name.partition("-")[2] == name.replace(" ", "-"))
    return next(its, None)


def simulate(file="", case=None):
    """Build and run, until something fails; what was printed, whether all was well, and whether the
    case was lived without a failure."""
    environment = dict(
        os.environ,
        SEEDS=SEEDS,
        FIRST="0",
        CARGO_TARGET_DIR=str(COPY / "target"),
        CARGO_PROFILE_TEST_OPT_LEVEL="1",
        CARGO_PROFILE_TEST_DEBUG="0",
        RUSTFLAGS="-A warnings",
    )
    # Ours says which bugs; there it would be one life, told aloud.
    environment.pop("SEED", None)
    cargo = [os.environ.get("CARGO", "cargo"), "test", "--locked", "--test", "sim"]
    built = run(cargo + ["--no-run"], env=environment)
    if built.returncode:
        sys.exit(f"does not build:\n{built.stderr[-3000:]}")
    rotten = False
    if case:
        lived = run(cargo + ["--", "--exact", CASES], env=dict(environment, CASE=case.name))
        assert "running 1 test" in lived.stdout, CASES
        rotten = lived.returncode == 0
    text = ""
    for kind in kinds(file):
        ran = run(cargo + ["--", "--exact", kind, "--nocapture"], env=environment)
        text += ran.stdout + ran.stderr
        assert "running 1 test" in text, kind
        if ran.returncode:
            return text, False, rotten
    return text, True, rotten


def keep(text, name):
    """Make a case of what was left of a failure: the shortest, if there are several."""
    left = re.findall(r"^in (\d+) steps, left as (.*):$", text, re.MULTILINE)
    steps, path = min((int(steps), path) for steps, path in left)
    if steps > FEW_STEPS:
        print("        which is too long for a case", flush=True)
        return
    kind = os.path.basename(path).split("-")[0]
    if before := case_of(name):
        before.unlink()
    case = TOP / "test" / "sim" / "cases" / f"{kind}-{name.replace(' ', '-')}"
    with open(path, encoding="utf-8") as file, open(case, "w", encoding="utf-8") as to:
        to.write(f"# A planted bug: {name}\n" + file.read())


def main():
    wanted = sys.argv[1:] or list(BUGS)
    if "PLANTED" in os.environ:
        chance = random.Random(os.environ.get("SEED"))
        wanted = chance.sample(wanted, min(int(os.environ["PLANTED"]), len(wanted)))
    for name in wanted:
        file, old, _ = BUGS[name]
        if (TOP / file).read_text().count(old) != 1:
            sys.exit(f"{name}: {file} does not have this once:\n{old}")
    copy()
    text, well, _ = simulate()
    if not well:
        sys.exit(f"fails without any bug:\n{text[-3000:]}")
    print(f"without any bug: {SEEDS} seeds of each kind are fine", flush=True)
    missed, rotten = [], 0
    for name in wanted:
        file, old, new = BUGS[name]
        path = COPY / file
        source = path.read_text()
        began = time.monotonic()
        path.write_text(source.replace(old, new))
        try:
            case = case_of(name)
            text, well, rots = simulate(file, case)
        finally:
            path.write_text(source)
        found = re.search(r"SEED=(\d+): (.*)", text)
        if well or not found:
            missed.append(name)
            print(f"MISSED  {name}", flush=True)
        else:
            took = time.monotonic() - began
            steps = min(map(int, re.findall(r"^in (\d+) steps", text, re.MULTILINE)), default=0)
            print(f"found   {name}: seed {found[1]}, in {steps} steps, {found[2][:100]} ({took:.0f} s)", flush=True)
            if KEEP and (rots or not case):
                keep(text, name)
        if rots:
            rotten += 1
            print("        its case no longer shows it", flush=True)
    if rotten:
        print(f"{rotten} cases no longer show what they are named after")
    print(f"{len(wanted) - len(missed)} of {len(wanted)} planted bugs found")
    sys.exit(bool(missed))


main()
