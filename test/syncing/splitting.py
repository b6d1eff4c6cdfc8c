"""Mail that a Gnus on this machine splits, into folders that are synced."""
import os
import subprocess

from syncing.echo import Echo, EchoByImap
from syncing.emacs import FIXTURES, lisp

# By the last word of the subject, after as long as `split-slow` says; noted, so that its time is known.
RULE = """
(progn
  (defvar split-slow 0)
  (defun split-rule ()
    (let ((word (car (last (split-string (mail-fetch-field "subject")))))
          (end (+ (float-time) split-slow)))
      (while (< (float-time) end))
      (e2e-say "split" word)
      (pcase word
        ("both" (list "lists" "R&D"))
        ("bad" (error "No rule of mine"))
        ("lists" (list "lists"))
        ("drafts" (list "Entwürfe"))
        (_ %s))))
  (setq nnmail-split-methods 'split-rule))
"""


class Splitting(Echo):
    """What is asked of any of them; `incoming` is where mail arrives."""

    incoming = None
    RESPOOL = "(gnus-summary-respool-article 1 (gnus-group-method gnus-newsgroup-name))"

    def rest(self):
        # Delays are a second each here.
        self.emacs.wait("rest", lambda: self.emacs.state().startswith("idle"), 60)
        self.emacs.quiet(2.5)

    def receive(self, *words, start=0):
        """Messages arrive at once, with subjects that end with these words; return the subjects."""
        subjects = ["%d %s" % (self.count * 100 + number, word) for number, word in enumerate(words, start)]
        for name in subjects:
            self.deliver(self.incoming, name)
        return subjects

    def one_sync(self, *folders, split, again=()):
        """One run, of these folders, which began when all was split."""
        self.rest()
        runs = [sorted(run[0].strip("()").split()) for run in self.emacs.runs()]
        assert runs == [sorted(folders)], (runs, self.emacs.facts())
        facts = self.emacs.facts()
        begins = [number for number, fact in enumerate(facts) if fact.startswith("begins")]
        # Not those that were there before, and stay there: they are looked at again.
        splits = [number for number, fact in enumerate(facts) if fact in ("split\tlists", "split\tboth", "split\tdrafts")]
        assert len(splits) == split, facts
        assert splits[split - 1] < begins[0], facts
        assert self.same(), self.differences()

    def all_destinations(self):
        """Messages for three folders, one of them for two; the rules take longer than the sync's delays."""
        self.emacs.do("(setq split-slow 0.5)")
        names = self.receive("lists", "both", "drafts", "lists", "drafts", "lists")
        self.emacs.wait("them there", lambda: {names[2], names[4]} <= set(self.remote("Entw&APw-rfe")))
        self.emacs.do("(setq split-slow 0)")
        self.one_sync("lists", "R&D", "Entwürfe", split=len(names))
        assert set(self.remote("lists")) >= {names[0], names[1], names[3], names[5]}, self.remote("lists")
        assert names[1] in self.remote("R&-D"), self.remote("R&-D")
        assert not set(names) & set(self.messages(self.incoming)), "it is still where it arrived"
        self.listed = names[0]

    def wrong_rule(self):
        """One message of ten at which a rule signals: it is there, as all the others are; it is said once."""
        names = self.receive(*["lists"] * 4, "bad", *["drafts"] * 5)
        self.emacs.wait("them there", lambda: set(names[:4]) <= set(self.remote("lists")))
        more = self.receive("drafts", "bad", "both", start=10)
        self.emacs.wait("them there", lambda: more[2] in self.remote("lists"))
        self.rest()
        assert self.same(), self.differences()
        self.found(names + more[:2])
        assert self.emacs.said("No rule of mine") == 1, self.emacs.log()
        error = self.emacs.value("(cdr (plist-get (mailsync-gnus-status) :last-error))")
        assert error == "No rule of mine", error

    def found(self, names):
        """Each message is in one folder here."""
        places = [subject for box in [*self.boxes, *self.more()] for subject in self.messages(box)]
        assert all(places.count(name) == 1 for name in names), (names, places)

    def more(self):
        return []

    def respooled(self):
        """A message that the user respools is a change like any other: both folders, once."""
        name = self.listed
        self.emacs.do('(defun split-rule () (list "R&D"))')
        self.emacs.do("""
(progn
  (gnus-group-read-group t t (concat sync-server "lists"))
  (goto-char (point-min))
  (search-forward %s)
  %s
  (gnus-summary-exit))""" % (lisp(name), self.RESPOOL))
        self.emacs.wait("it there", lambda: name in self.remote("R&-D"))
        self.rest()
        runs = [sorted(run[0].strip("()").split()) for run in self.emacs.runs()]
        assert runs == [["R&D", "lists"]], (runs, self.emacs.facts())
        assert name not in {subject: flags for subject, flags in self.remote("lists").items()
                            if "\\Deleted" not in flags}
        assert self.same(), self.differences()

    def gnus_reads(self):
        self.emacs.wait_fact("ends\tok", 60)
        self.gnus()
        assert self.same(), self.differences()

    def run(self):
        self.start()
        self.emacs.do("(setq mailsync-check-timeout 60)")
        self.check("Gnus reads what the first sync brings", self.gnus_reads)
        self.check("one sync carries all destinations, when slow rules have split all", self.all_destinations)
        self.check("a rule that signals loses nothing", self.wrong_rule)
        self.check("what the user respools is synced", self.respooled)


class SplittingSource(Splitting):
    """A maildir where mail arrives is an account of its own, and Gnus takes the mail out of it."""

    incoming = "../arrives"
    # nnmaildir respools into the same group.
    RESPOOL = '(gnus-summary-move-article 1 (concat sync-server "R&D"))'

    def start(self):
        self.arrives = os.path.join(self.dir, "config", "local", "arrives")
        super().start()

    def directory(self, name):
        # Gnus makes "bogus" beside the links to the others: it is not synced.
        return {self.incoming: self.arrives, "bogus": self.dir + "/links/bogus"}.get(name) or super().directory(name)

    def launch(self, mode=None, more=""):
        for part in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(self.arrives, part))
        return super().launch(mode, more + "(push '(\"arrives\" :maildir %s) mailsync-accounts)" % lisp(self.arrives))

    def gnus(self):
        self.emacs.do("(setq sync-takes-mail t)")
        super().gnus()
        self.emacs.do(RULE % '(list "with space")')
        self.emacs.do("(setq mail-sources '((maildir :path %s)))" % lisp(self.arrives))

    def more(self):
        return [self.incoming, "bogus"]


class SplittingByImap(Splitting, EchoByImap):
    """Mail arrives in the inbox that is synced, and a Dovecot on this machine moves what nnimap splits."""

    # Nothing is left of it there that could be pushed.
    incoming = "INBOX"

    def gnus(self):
        self.emacs.do(RULE % "nil")
        self.emacs.do("(setq nnimap-inbox \"INBOX\" nnimap-split-methods 'default)")
        super().gnus()
