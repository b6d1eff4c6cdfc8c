;;; mailsync-options.el --- What users of mailsync can set  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; All options, faces and groups of mailsync, in the order in which the manual
;; has them.  Customize sorts those of a group by their names, unless the user has
;; it otherwise: so few are in the group of all, and the rest in groups below it.
;; This is what `(require 'mailsync)' loads, beside the mode, so that an init file
;; can set whatever it likes; the code is loaded when it is needed.  So nothing is
;; required here.

;;; Code:

;;;; Groups

(defgroup mailsync nil
  "Realtime mail for Gnus."
  :group 'gnus
  :prefix "mailsync-"
  :link '(url-link "https://github.com/mailsync/mailsync"))

(defgroup mailsync-delays nil
  "When mailsync tells, checks and syncs."
  :group 'mailsync)

(defgroup mailsync-display nil
  "How mailsync shows what it does."
  :group 'mailsync)

(defgroup mailsync-gnus nil
  "How mailsync checks the groups of Gnus."
  :group 'mailsync)

(defgroup mailsync-hooks nil
  "What mailsync calls when something happens."
  :group 'mailsync)

(defgroup mailsync-notify nil
  "How mailsync tells of new mail."
  :group 'mailsync
  :prefix "mailsync-notify-")

(defgroup mailsync-faces nil
  "What states, findings and the log look like."
  :group 'mailsync
  :group 'faces)

;;;; Accounts

;; It is shown with the others, and made elsewhere.
(custom-add-to-group 'mailsync 'mailsync-mode 'custom-variable)

(autoload 'mailsync-check-by-gnus "mailsync-dispatch")
(declare-function mailsync--configuration-changed "mailsync-life"
                  (&optional seconds))
(declare-function mailsync-gnus--total-soon "mailsync-gnus-total" (&rest _))

(defun mailsync-options--set (option value)
  "Set OPTION to VALUE, and have a running mailsync go over to it."
  (set-default option value)
  (when (fboundp 'mailsync--configuration-changed)
    (mailsync--configuration-changed)))

(defcustom mailsync-accounts nil
  "The accounts: a list of (NAME KEY VALUE...).
With nil, they are discovered: what the configurations of mbsync and
OfflineIMAP sync here, the directories of Gnus's nnmaildir servers, and $MAILDIR
or else ~/Maildir; the latter not where `mailsync-gnus-watch-nnimap' is non-nil.
\\[mailsync-setup] shows what is discovered and why, and keeps it in your init file.
With `none' there are none, and only what that option says is watched.

`:maildir' is a directory or a list of directories.  `:layout' is `auto' (the
default), `maildir++' or `nested'.  `:poll' is a number of seconds for file
systems whose changes the kernel does not tell.  `:gnus-server' names the
nnimap server that serves the account, where it cannot be guessed;
`:gnus-groups' is an alist from folders to lists of groups, or a function that
returns such a list for a change, where those cannot be found.  A delay of an
account goes by the name of the option without its prefix, as in
`:coalesce-delay'.

`:syncer' says how the account is synced: a function, or a list of one and
its arguments, as in (mailsync-mbsync \"work\"), (mailsync-command \"program\"
\"%f\") or (mailsync-offlineimap \"Home\").  `:ignore' is a list of folders
whose own changes ask for no sync.

`:remote' says what to watch on a server: (watcher PROGRAM ARGS...), or a list
of these, as in (watcher \"ssh\" \"-o\" \"BatchMode=yes\" \"host\"
\"mailsync-watch\").  What changes there is synced at once.  Folders that
such a program calls otherwise than mailsync come to their names by
`:separator' (what stands between levels, by default \".\") and `:prefix'
\(what stands before them).  Or (imap KEY VALUE...), as in (imap :host
\"imap.example.org\" :user \"me\"): the server itself says what changes.  The
keys are `:host' `:port' `:user' `:tls' `:tls-fingerprint' `:auth'
`:secret-command' `:oauth-command' `:tunnel' `:folders' `:idle-folders'
`:idle-refresh' `:poll'; see the manual.  An account that has `:remote' needs
no `:maildir'.

A change by Customize is in force at once, one by `setq' after
\\[mailsync-restart]; what stays as it was goes on being watched."
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :type '(choice (const :tag "Discover them" nil)
                 (const :tag "None: only servers that Gnus has open" none)
                 (alist :key-type (string :tag "Name")
                        :value-type (plist :key-type symbol :value-type sexp)))
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

;;;; Delays

(defcustom mailsync-coalesce-delay 0.2
  "Changes of a folder are merged until it has been quiet this long, in seconds."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-coalesce-max-delay 2
  "Changes of a folder are merged for this long at most, in seconds."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-base-delay 2
  "From the first change of a folder to its sync, in seconds.
Later changes do not extend it; those of other folders that come meanwhile go
along.  Changes on the server are synced at once."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-inter-delay 5
  "The least time between two syncs of an account, in seconds.
It may also be an alist from folder names, or globs with `*', to seconds; the
first that matches counts, and t stands for all others."
  :type '(choice number
                 (alist :key-type (choice (const :tag "All others" t)
                                          (string :tag "Folder or glob"))
                        :value-type number))
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-max-delay 600
  "The longest wait between two attempts of a sync that fails, in seconds."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-poll-period 86400
  "A whole account is synced this often, in seconds; 0 means never.
The time that the machine sleeps counts."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-check-timeout 10
  "How long a sync waits for Gnus to check the folders that changed, in seconds.
Mail that Gnus splits meanwhile goes up in the same sync."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-sync-timeout 300
  "A sync that gives no sign of life for so many seconds is ended.
Signs of life are output, and changes in the account's directories."
  :type 'number
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-delays
  :package-version '(mailsync . "0.1.0"))

;;;; What the mode line says

(defcustom mailsync-mode-line-format " [%s]"
  "How the mode line of the Group buffer shows the state.
%s stands for it: \"watching\", \"checking\", \"3 pending\" (to be checked),
\"syncing\" (with the messages that came so far), \"3 to sync\", \"paused\",
\"starting\", \"failing\", \"synced elsewhere\" (by another Emacs),
\"offline\" (a server cannot be watched, and is tried again),
\"no server\" (Gnus has none open that is to be watched), \"waiting\"
or \"error\".
nil shows nothing."
  :type '(choice (const :tag "Nothing" nil) string)
  :group 'mailsync-display
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-mode-line-style 'text
  "How the state is written in the mode line: in words or as a sign.
With `unicode' it is one character, and a number where there is one: ✓
watching, ⟳ checking or pending, ⇅ syncing, ⇡ to sync, ‖ paused, ↯ failing, ≈
synced elsewhere, ⊘ offline, ∅ no server or no account, … starting or waiting,
✗ error.  Where such a character cannot be shown the words stand.  The mouse
shows the words."
  :type '(choice (const :tag "Words" text)
                 (const :tag "Unicode signs" unicode))
  :group 'mailsync-display
  :package-version '(mailsync . "0.1.0"))

;;;; Syncs, the log, the module

(defcustom mailsync-sync-at-start t
  "Non-nil means to sync everything when mailsync starts."
  :type 'boolean
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-ignore-folders nil
  "Folders whose own changes ask for no sync: names, or globs with `*'.
A sync of the whole account covers them all the same.  The key `:ignore' of an
account adds to these."
  :type '(repeat string)
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-log-level 'info
  "The least important messages that the log keeps."
  :type '(choice (const :tag "Everything" debug)
                 (const :tag "What happens" info)
                 (const :tag "What should not happen" warning)
                 (const :tag "Failures" error))
  :group 'mailsync-display
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-status-folders 3
  "How many folders of an account `mailsync-status' shows at most.
Those with which something is the matter come first, then those that changed
last; `mailsync-folders' lists all."
  :type 'natnum
  :group 'mailsync-display
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-history-size 200
  "How many changes `mailsync-history' shows at most."
  :type 'natnum
  :group 'mailsync-display
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-listen nil
  "Whether programs on this machine are told which folders were checked.
For a server where this Emacs splits the mail: there `mailsync-watch --attach',
which another machine runs over ssh, names a folder only when Gnus has checked
it.  Without such an Emacs it watches by itself.

If t, Emacs listens at the Unix socket \"mailsync/listen\" in the directory
that $XDG_RUNTIME_DIR names; where there is none, in /run/user/UID; where there
is none either, in \"mailsync-UID\" below $TMPDIR or /tmp.  A file name is that
of another socket (then `mailsync-watch' needs its option `--socket'), in a
directory that only you may enter; it is made if it is missing.  If nil, nobody
is told."
  :type '(choice (const :tag "No" nil)
                 (const :tag "At the default socket" t)
                 (file :tag "At another socket"))
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-module-directory nil
  "Where the module is; nil means beside mailsync's Lisp files.
Set it where those are in a directory that you cannot write.  It has to be an
absolute name, and nobody else may be able to write there: the module may do
what Emacs may."
  :type '(choice (const :tag "Beside the Lisp files" nil) directory)
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-check-function #'mailsync-check-by-gnus
  "The function that checks the folders that changed.
It is called with ACCOUNT (a name), CHANGES (a list of plists as
`mailsync-changed-functions' gets them) and DONE, must return at once, and
must call DONE once, then or later, with an alist from folders to `checked',
`no-group', `not-running' or `failed'.  A second argument of DONE, if given,
is the list of those changes that brought a message, with `:groups' a list
of (GROUP OLD NEW), the counts of unread messages."
  :type 'function
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

;;;; Gnus

(defcustom mailsync-gnus-idle-delay 0.5
  "Check groups after Emacs has been idle for so many seconds."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-max-wait 30
  "Wait at most so many seconds for an idle moment.
After that, groups are checked between your keystrokes, for a few
milliseconds at a time."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-check-method 'parts
  "How a group is checked.
`parts' calls the parts of Gnus's own command that are needed.
For nnimap it never waits for the server.

`command' calls `gnus-group-get-new-news-this-group' for each
group.  It is slower, makes an IMAP server expunge the messages
that are marked as deleted, and blocks Emacs for as long as a
server does not answer."
  :type '(choice (const :tag "The necessary parts of the command" parts)
                 (const :tag "The command itself" command))
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-run-hooks t
  "Whether Gnus's hooks for new mail are run after a check.
If non-nil, `gnus-get-new-news-hook' and
`gnus-after-getting-new-news-hook' are run, in this order, once
after the groups of a batch of changes were checked, provided
that the number of unread messages rose in one of them."
  :type 'boolean
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-split t
  "Whether Gnus splits mail when it has arrived where mail is split.
This concerns nnimap servers that are defined with `nnimap-inbox'
and `nnimap-split-methods', and the maildirs of `mail-sources'.
Gnus splits the mail of these whenever it looks for new mail; if
this is non-nil, also when mailsync sees that the inbox or the
maildir has changed.  Emacs waits for an nnimap server meanwhile:
a moment for one on this machine, several round trips for
another."
  :type 'boolean
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-subscribe-new nil
  "Whether Gnus is told of folders that none of its groups shows.
If t, a folder that is created while mailsync runs, or gets mail,
becomes a group as Gnus's own rules for new groups say:
`gnus-options-subscribe', `gnus-options-not-subscribe',
`gnus-auto-subscribed-groups', `gnus-auto-subscribed-categories',
and the methods `gnus-subscribe-options-newsgroup-method' and
`gnus-subscribe-newsgroup-method'.  Its server must be one that
Gnus has open.  Where these rules ask you, nothing is done:
`gnus-find-new-newsgroups' is for that.

A list names the folders or groups for which that is done; `*'
there stands for any text.  A function is called with the full
name of the group and the folder's name, nil where Gnus has split
mail into a new group; it returns non-nil to have it done.

If nil, new folders are yours to subscribe to."
  :type '(choice (const :tag "No" nil)
                 (const :tag "As Gnus's rules say" t)
                 (repeat :tag "Only these folders or groups" string)
                 function)
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-update-summary nil
  "What is done for an open *Summary* when articles have come to its group.
nil leaves it alone.  `message' says so in its mode line, and in the
echo area if the *Summary* is to be seen and nothing else is there.
`insert' inserts the articles as soon as you are idle.  What you see
does not move: point, the first line of each window, threads that are
hidden, the order, the limit and the article stay as they are.  While
a limit hides a part of the group, or where it cannot be done without
waiting or without losing something, it is as with `message'."
  :type '(choice (const :tag "Leave it alone" nil)
                 (const :tag "Say so" message)
                 (const :tag "Insert them" insert))
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-catch-up-delay 10
  "Seconds of idleness before flags are looked for after new mail came.
To count new messages in an nnmaildir group is cheap; to look
whether another program changed the flags of old ones is not.  A
folder into which messages were only delivered is looked at in
full after Emacs has been idle for so many seconds, or for longer
if the last look took more than a twentieth of a second: twice as
long for a tenth, and so on."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-imap-timeout 10
  "Seconds to wait for the answer of an nnimap server.
Emacs is not blocked meanwhile.  A server that does not answer in
time is asked again later, on a new connection."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-imap-open-timeout 2
  "Seconds that opening our own connection to an nnimap server may take.
Emacs is blocked meanwhile.  It happens once per server, and only
while Gnus's own connection is open or the server is on this
machine."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-watch-nnimap nil
  "Which of Gnus's nnimap servers mailsync watches by itself.
If t, all that Gnus has open; a list of names stands for those servers; nil
means none but what `mailsync-accounts' says.  How to reach a server and its
password are taken from where Gnus has them.

A server that an account of `mailsync-accounts' covers is left to that; with t,
so is one on this machine if an account has a maildir, since it serves that.
If this is non-nil and there are no accounts, ~/Maildir is not looked for; if
`mailsync-accounts' is `none', nothing else is."
  :type '(choice (const :tag "None" nil)
                 (const :tag "All that Gnus has open" t)
                 (repeat :tag "These" (string :tag "Name of the server")))
  :set #'mailsync-options--set
  :initialize #'custom-initialize-default
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-mode-line-groups nil
  "Groups whose unread messages `mailsync-mode-line' counts.
A list of full names of groups, where `*' stands for any text, or
a level: all groups at that level or below are meant then.  The
counts are those that Gnus shows.  The number appears after the
state of mailsync while Gnus runs, as `mailsync-gnus-mode-line-total'
says.

To see it in every mode line:

  (add-to-list \\='global-mode-string \\='(\"\" mailsync-mode-line) t)"
  :type '(choice (const :tag "None" nil)
                 (repeat :tag "Groups" string)
                 (integer :tag "All up to level"))
  :set (lambda (symbol value)
         (set-default symbol value)
         (when (bound-and-true-p mailsync-gnus--set-up)
           (mailsync-gnus--total-soon)))
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-mode-line-total " Mail:%d"
  "How `mailsync-mode-line' shows the number of unread messages.
%d stands for it."
  :type 'string
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

;;;; Hooks

(defcustom mailsync-started-functions nil
  "Functions called with an account's name when it is being watched."
  :type 'hook
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-changed-functions nil
  "Functions called with an account's name and changes, before any check.
A change is a plist: `:account', `:folder' (canonical name), `:directory'
\(as you spell it; nil where there is none here), `:truename', `:kinds' (a
list of `new', `flags', `gone', `folder-created', `folder-deleted', `unknown')
and `:origins' (a list of `local', `sync', `remote')."
  :type 'hook
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-new-mail-functions nil
  "Functions called with an account's name and changes, after the check.
Only changes that brought a message are given: one that arrived, and that
nobody has read or seen, nor moved there in Gnus.  Each message is told once.
The changes have `:groups', a list of (GROUP OLD NEW), the counts of unread
messages before and after; `:arrived', an alist from group to how many
arrived; and `:messages', the newest of these, at most 20 of a group, newest
first.  Each is a plist: `:group', `:number', and, where they are known,
`:from' and its name alone, `:sender', `:subject' and `:date', decoded, in
one line and without control characters, and `:message-id'.

`mailsync-notify-desktop' and `mailsync-notify-echo' are two such functions."
  :type 'hook
  :options '(mailsync-notify-desktop mailsync-notify-echo)
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-before-sync-functions nil
  "Functions called with an account's name and folders when a sync begins.
The folders are canonical names; nil means the whole account.  They inform:
the sync does not wait for them, and if Emacs is busy they are left out."
  :type 'hook
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-after-sync-functions nil
  "Functions called with an account's name and the result of a sync.
The result is a plist: `:status' (`ok', `partial', `transient', `auth',
`config', `locked', `interrupted' or `timeout'), `:exit-code' (nil if the
syncer was never started), `:folders' (canonical names, nil for the whole
account), `:started' (a time), `:duration' (seconds), `:text' (what the user
should know, maybe empty) and `:output-buffer' (nil if nothing was printed)."
  :type 'hook
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-state-change-functions nil
  "Functions called with an account's name and its new state, a symbol.
The state is `starting', `watching', `waiting' or `error'; besides, while it
is synced, `paused' and `failing', and while a server is watched, `offline' and
`paused', and then `watching' when that is over."
  :type 'hook
  :group 'mailsync-hooks
  :package-version '(mailsync . "0.1.0"))

;;;; Notification

(defcustom mailsync-notify-muted-groups nil
  "Groups of which no new mail is told.
Each is the name of a group, with or without its server
\(\"nnml:lists.emacs\", \"lists.emacs\"), or a glob with `*'."
  :type '(repeat string)
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-level 3
  "Tell of new mail in groups of this level or a lower one.
3 is the level at which Gnus subscribes to a group."
  :type 'natnum
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-quiet-times nil
  "When not to tell of new mail, a list of (FROM . TO).
FROM and TO are times of the day, such as \"22:00\" and \"07:00\".
What comes in that time, and is not read by then, is told once,
when it is over."
  :type '(repeat (cons (string :tag "From") (string :tag "To")))
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-delay 1
  "Seconds to wait for more after a message has come.
What comes in that time is told with it."
  :type 'number
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

;;;; Faces

(defface mailsync-well
  '((t))
  "Face of the state in which all is watched and done, in the mode line."
  :group 'mailsync-faces)

(defface mailsync-busy
  '((t :inherit font-lock-function-name-face))
  "Face of a state in which something is being done, in the mode line."
  :group 'mailsync-faces)

(defface mailsync-pending
  '((t :inherit warning))
  "Face of a state in which something waits to be done, in the mode line."
  :group 'mailsync-faces)

(defface mailsync-resting
  '((t :inherit shadow))
  "Face of a state in which nothing is done on purpose, in the mode line.
That is a pause of the user's, or that another Emacs does it."
  :group 'mailsync-faces)

(defface mailsync-offline
  '((t :inherit mailsync-trouble))
  "Face of a state that is mended without the user, in the mode line."
  :group 'mailsync-faces)

(defface mailsync-trouble
  '((t :inherit error))
  "Face of a state that needs the user, in the mode line and the status."
  :group 'mailsync-faces)

(defface mailsync-log-error '((t :inherit error))
  "Face of the word \"error\" in the log."
  :group 'mailsync-faces)

(defface mailsync-log-warning '((t :inherit warning))
  "Face of the word \"warning\" in the log."
  :group 'mailsync-faces)

(defface mailsync-log-info '((t :inherit success))
  "Face of the word \"info\" in the log."
  :group 'mailsync-faces)

(defface mailsync-log-debug '((t :inherit shadow))
  "Face of the word \"debug\" in the log."
  :group 'mailsync-faces)

(defface mailsync-doctor-note
  '((t :inherit font-lock-keyword-face))
  "Face of what is worth knowing."
  :group 'mailsync-faces)

(provide 'mailsync-options)
;;; mailsync-options.el ends here
