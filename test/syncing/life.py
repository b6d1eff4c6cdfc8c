"""A long life: a user who does this and that in Gnus, while mail comes on both sides."""
import collections
import os
import random
import time

from syncing.emacs import lisp
from syncing.world import World, subject

GROUPS = ["INBOX", "lists", "with space", "a.b"]
ACTIONS = ["read", "read", "tick", "tick", "move", "copy", "delete", "expire"]


class Life(World):
    """ACTIONS says how many things the user does, SEED which."""

    def live(self):
        seed = int(os.environ.get("SEED") or time.time())
        count = int(os.environ.get("ACTIONS") or 100)
        print("SEED=%d ACTIONS=%d" % (seed, count), flush=True)
        chance = random.Random(seed)
        # How often there is a message of this subject; only the other side deletes in R&D.
        times = collections.Counter(name for box in self.boxes for name in self.messages(box))
        tally = collections.Counter()
        for number in range(count):
            group = chance.choice(GROUPS + ["R&D"])
            action = chance.choice(ACTIONS if group in GROUPS else ACTIONS[:4])
            to = chance.choice([name for name in GROUPS if name != group])
            self.emacs.forget()
            self.emacs.do("(sync-act %s %d (quote %s) %s)" % (lisp(group), chance.randrange(1000), action, lisp(to)))
            _, done, name = self.emacs.wait_fact("acted\t")[0].split("\t")
            tally[done] += 1
            times[name] += {"copy": 1, "delete": -1, "expire": -1}.get(done, 0)
            if chance.random() < 0.3:
                tally["received here"] += 1
                times["here-%d" % number] += 1
                self.deliver(chance.choice(list(self.boxes)), "here-%d" % number)
            if chance.random() < 0.3:
                tally["received there"] += 1
                times["there-%d" % number] += 1
                self.append(chance.choice(list(self.boxes.values())), "there-%d" % number)
            if chance.random() < 0.2:
                box = chance.choice(list(self.boxes.values()))
                names = sorted(self.remote(box))
                if names:
                    tally["flagged there"] += 1
                    self.store(box, chance.choice(names), chance.choice(["\\Flagged", "\\Seen", "\\Answered"]))
            if chance.random() < 0.1:
                names = sorted(self.remote("R&-D"))
                if names:
                    name = chance.choice(names)
                    tally["deleted there"] += 1
                    times[name] -= 1
                    self.store("R&-D", name, "\\Deleted", expunge=True)
            if chance.random() < 0.1:
                tally["syncs asked for"] += 1
                self.emacs.do('(mailsync-sync "w")')
            time.sleep(chance.choice([0, 0, 0.3, 1, 2]))
        self.emacs.do('(mailsync-sync "w")')
        self.wait_same(seconds=120)
        self.emacs.quiet()
        assert self.same(), self.differences()
        found = collections.Counter(subject(text) for box in self.boxes for _, text in self.files(box))
        times = +times
        print(", ".join("%s %d" % pair for pair in sorted(tally.items())))
        runs = [fact for fact in self.emacs.all_facts() if fact.startswith("ends\t")]
        # OfflineIMAP uploads again what Gnus renames while it is being uploaded.
        again = [run for run in runs if self.syncer == "offlineimap" and ",U=" in run.partition(" -> ")[2]]
        doubled = found - times
        print("%d syncs, %d messages at the end, %d doubled of %d that were renamed while they were uploaded"
              % (len(runs), sum(found.values()), sum(doubled.values()), len(again)), flush=True)
        assert not times - found, ("lost", times - found)
        assert sum(doubled.values()) <= len(again), ("doubled", doubled)

    def first_sync(self):
        self.emacs.wait_fact("ends\tok", 60)
        self.gnus()

    def run(self):
        self.start()
        self.check("the first sync brings everything", self.first_sync)
        self.check("equal on both sides after all", self.live)
