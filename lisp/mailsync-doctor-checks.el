;;; mailsync-doctor-checks.el --- What Lisp alone can find wrong  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The checks of `mailsync-doctor' that need no disk of the user's and no
;; module: versions, options, hooks, the accounts as they are written, what an
;; engine that runs has said, and Gnus.  Each returns findings, and changes
;; nothing.
;;
;; A finding is a list (SUBJECT CHECK LEVEL TEXT REMEDY PLACE): what it is
;; about; which check (a word of the manual's table); `ok', `note', `warning' or
;; `problem'; what is so; the one thing to do, and where that is done: "option
;; NAME", "command NAME", "file NAME" or "".
;;
;; What a disk has to say, src/errand/examine/ finds out; who asks, and how the
;; user sees it, is mailsync-doctor.el's business.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'wid-edit)
(require 'mailsync-accounts)
(require 'mailsync-log)
(require 'mailsync-module)
(require 'mailsync-options)
(require 'mailsync-remote)
(require 'mailsync-sync)

;;;; Declarations

(defvar gnus-demon-handlers)
(defvar gnus-newsrc-hashtb)
(defvar gnus-secondary-select-methods)
(defvar gnus-select-method)
(defvar gnus-version)
(defvar mailsync--breaks)
(defvar mailsync--states)
(defvar mailsync-gnus-nnimap--told)
(defvar mailsync-mode)
(declare-function gnus-alive-p "gnus-util")
(declare-function mailsync-gnus--all-groups "mailsync-gnus-folders" (change))
(declare-function mailsync-gnus--ambiguous-p "mailsync-gnus-folders" (account))
(declare-function mailsync-gnus--called-p "mailsync-gnus-folders" (method name))
(declare-function mailsync-gnus--imap-servers "mailsync-gnus-folders" (account))
(declare-function mailsync-gnus--sources "mailsync-gnus-folders" (change))
(declare-function mailsync-gnus--why-not "mailsync-gnus-folders" (group))
(declare-function mailsync-gnus-account-folders "mailsync-gnus-folders"
                  (account))
(declare-function mailsync-module--version "ext:mailsync-engine")
(declare-function mailsync-module--status "ext:mailsync-engine")

;;;; Findings

(defun mailsync-doctor--finding (subject check level text &optional remedy place)
  "A finding about SUBJECT by CHECK, of LEVEL: TEXT, REMEDY and PLACE."
  (list subject check level text (or remedy "") (or place "")))

(defun mailsync-doctor--account (name)
  "How the account NAME is called in findings."
  (format "account \"%s\"" name))

(defun mailsync-doctor--some (names)
  "The first of NAMES, and that there are more."
  (concat (string-join (seq-take names 3) ", ")
          (if (nthcdr 3 names)
              (format " and %d more" (- (length names) 3))
            "")))

;;;; Versions

(defun mailsync-doctor-check-module ()
  "Findings about the module and versions."
  (append
   (list (mailsync-doctor--emacs emacs-version module-file-suffix))
   (and module-file-suffix
        (list (mailsync-doctor--module
               (and (fboundp 'mailsync-module--version)
                    (mailsync-module--version))
               (mailsync-module--version-found)
               (and (executable-find "cargo") (executable-find "make") t)
               (and (mailsync-module--source) t))))
   (list (mailsync-doctor--gnus-version))))

(defun mailsync-doctor--emacs (version suffix)
  "A finding about an Emacs of VERSION whose modules have SUFFIX, nil for none."
  (cond
   ((null suffix)
    (mailsync-doctor--finding
     "Emacs" "module support" 'problem
     (format "this Emacs (%s) cannot load modules" version)
     "install an Emacs built with modules (Debian's packages are)"))
   ((version< version "28.1")
    (mailsync-doctor--finding
     "Emacs" "version" 'problem
     (format "this is Emacs %s; mailsync needs 28.1 or later" version)
     "install a later Emacs"))
   (t
    (mailsync-doctor--finding
     "Emacs" "version" 'ok (format "Emacs %s, which can load modules" version)))))

(defun mailsync-doctor--module (loaded found tools source)
  "A finding about the module, of which the version LOADED runs.
FOUND is the version on the disk; either may be nil.  TOOLS says whether there
are programs to build it, SOURCE whether there is something to build."
  (let* ((wanted mailsync-module--version-wanted)
         (say (apply-partially #'mailsync-doctor--finding "mailsync" "module"))
         (build (cond
                 ((not source)
                  '("install mailsync with its sources (see Installation in the \
manual)" ""))
                 (tools '("M-x mailsync-module-compile"
                          "command mailsync-module-compile"))
                 (t '("install Rust (https://rustup.rs) and make, then M-x \
mailsync-module-compile" "command mailsync-module-compile")))))
    (cond
     ((and loaded (not (equal loaded wanted)))
      (funcall say 'problem
               (format "the module that runs is version %s, the Lisp files are %s"
                       loaded wanted)
               "restart Emacs"))
     ((and (null loaded) (null found))
      (apply say 'problem
             (format "there is no module (%s)"
                     (abbreviate-file-name (mailsync-module--file)))
             build))
     ((not (equal (or found loaded) wanted))
      (apply say 'problem
             (format "the module on the disk is version %s, the Lisp files are %s"
                     found wanted)
             build))
     (t
      (funcall say 'ok (format "version %s, module and Lisp files alike%s" wanted
                               (if loaded "" "; not loaded yet")))))))

(defun mailsync-doctor--gnus-version ()
  "A finding about Gnus as a whole."
  (cond
   ((not (featurep 'gnus))
    (mailsync-doctor--finding
     "Gnus" "Gnus" 'note "Gnus is not loaded: nothing is checked"
     "M-x gnus, where you read mail with it" "command gnus"))
   ((not (gnus-alive-p))
    (mailsync-doctor--finding
     "Gnus" "Gnus" 'note (format "%s is loaded, and not running: nothing is checked"
                                 gnus-version)
     "M-x gnus" "command gnus"))
   (t
    (mailsync-doctor--finding
     "Gnus" "Gnus" 'ok (format "%s is running" gnus-version)))))

;;;; Options

(defun mailsync-doctor--names ()
  "Variables whose names begin as our options do, but for internal ones."
  (let ((names (all-completions "mailsync-" obarray #'boundp)))
    (seq-filter (lambda (symbol)
                  ;; Not another name of some other one.
                  (eq symbol (indirect-variable symbol)))
                (mapcar #'intern
                        (sort (seq-remove (lambda (name) (string-search "--" name))
                                          names)
                              #'string<)))))

(defun mailsync-doctor-check-options ()
  "Findings about options whose values or names are not right."
  (let ((findings
         (delq nil (mapcar #'mailsync-doctor--option (mailsync-doctor--names)))))
    (or findings
        (list (mailsync-doctor--finding
               "options" "options" 'ok "the values of all options are of their types")))))

(defun mailsync-doctor--option (option)
  "A finding about the variable OPTION, or nil if it is as it should be."
  (let ((type (get option 'custom-type)))
    (cond
     ((null type)
      (unless (mailsync-doctor--known-p option)
        (mailsync-doctor--finding
         "options" "options" 'warning
         (format "there is no option %s" option)
         "correct its name; M-x customize-group RET mailsync lists all"
         "group mailsync")))
     ;; Its functions are looked at one by one.
     ((eq (car (ensure-list type)) 'hook) nil)
     ((not (mailsync-doctor--of-type-p (symbol-value option) type))
      (mailsync-doctor--finding
       "options" "options" 'warning
       (format "the value of %s is not of its type: %s" option
               (truncate-string-to-width (format "%S" (symbol-value option))
                                         60 nil nil t))
       (format "correct %s" option)
       (format "option %s" option))))))

(defun mailsync-doctor--of-type-p (value type)
  "Non-nil if VALUE is what TYPE, of an option, allows."
  (condition-case nil
      (widget-apply (widget-convert type) :match value)
    (error nil)))

(defun mailsync-doctor--known-p (variable)
  "Non-nil if some library defines VARIABLE, whether it is loaded or not."
  (or (symbol-file variable 'defvar)
      (get variable 'variable-documentation)
      (seq-some
       (lambda (file)
         (with-temp-buffer
           (insert-file-contents file)
           (re-search-forward
            (format "^(\\(?:defcustom\\|defvar\\|defconst\\)[ \t]+%s\\_>"
                    (regexp-quote (symbol-name variable)))
            nil t)))
       (directory-files mailsync-module--lisp-directory t "\\`mailsync.*\\.el\\'"))))

;;;; Hooks

(defconst mailsync-doctor--hooks
  '(mailsync-started-functions mailsync-changed-functions
    mailsync-new-mail-functions mailsync-state-change-functions
    mailsync-before-sync-functions mailsync-after-sync-functions)
  "The hooks whose functions are looked at.")

(defun mailsync-doctor-check-hooks ()
  "Findings about functions of hooks that are not there, or that signal."
  (or (mapcan
       (lambda (hook)
         (let ((value (and (boundp hook) (symbol-value hook))))
           (delq nil
                 (mapcar
                  (apply-partially #'mailsync-doctor--hook-function hook)
                  (if (functionp value) (list value) (ensure-list value))))))
       mailsync-doctor--hooks)
      (list (mailsync-doctor--finding
             "hooks" "hooks" 'ok "no function of a hook has signaled"))))

(defun mailsync-doctor--hook-function (hook function)
  "A finding about FUNCTION of HOOK, or nil."
  (let ((name (mailsync--function-name function))
        (place (format "option %s" hook)))
    (cond
     ((eq function t) nil)
     ((not (functionp function))
      (mailsync-doctor--finding
       "hooks" "hooks" 'problem (format "%s has %S, which is no function" hook name)
       (format "define it, or remove it from %s" hook) place))
     ((mailsync--said-p (list hook function))
      (mailsync-doctor--finding
       "hooks" "hooks" 'warning (format "%s in %s has signaled" name hook)
       "mend it; M-x mailsync-log says what it signaled" "command mailsync-log")))))

;;;; Accounts

(defun mailsync-doctor-read ()
  "Read the configuration; return (ACCOUNTS VECTOR FAULTS).
ACCOUNTS are those that are right, and those that come from Gnus's servers;
VECTOR is that for the module; FAULTS are what is wrong, strings."
  (let ((more (and mailsync-mode
                   (boundp 'mailsync-gnus-nnimap--told)
                   (seq-filter (lambda (account)
                                 (member account mailsync-gnus-nnimap--told))
                               mailsync-accounts--valid))))
    ;; What is in force stays so, and nothing is said.
    (let* ((mailsync--quiet t)
           (mailsync-accounts--valid nil)
           (mailsync-accounts--faults nil)
           (mailsync-accounts--reasons nil)
           (mailsync-accounts-more-function (lambda (_) more))
           (accounts (mailsync-accounts-read))
           (vector (mailsync-accounts-for-module accounts)))
      (list accounts vector (reverse mailsync-accounts--faults)))))

(defun mailsync-doctor-check-accounts (accounts faults)
  "Findings about ACCOUNTS, which are right, and FAULTS, strings."
  (append
   (mapcar (lambda (fault)
             (mailsync-doctor--finding
              "accounts" "accounts" 'problem fault
              "correct mailsync-accounts" "option mailsync-accounts"))
           faults)
   (and (null accounts)
        (list (cond
               ((not (eq mailsync-accounts 'none))
                (mailsync-doctor--finding
                 "accounts" "accounts" 'problem "no account can be used"
                 "write one into mailsync-accounts" "option mailsync-accounts"))
               (mailsync-gnus-watch-nnimap
                (mailsync-doctor--finding
                 "accounts" "accounts" 'ok "none, and Gnus has no server open \
that mailsync-gnus-watch-nnimap means"))
               (t
                (mailsync-doctor--finding
                 "accounts" "accounts" 'problem "none, and nothing of Gnus's is \
watched instead"
                 "set mailsync-gnus-watch-nnimap, or write accounts"
                 "option mailsync-gnus-watch-nnimap")))))
   (and accounts (null faults)
        (list (mailsync-doctor--finding
               "accounts" "accounts" 'ok
               (if mailsync-accounts
                   (format "configured: %s" (mapconcat #'car accounts ", "))
                 (format "mailsync-accounts is nil: %s"
                         (mapconcat (lambda (account)
                                      (format "\"%s\" for %s" (car account)
                                              (plist-get (cdr account) :maildir)))
                                    accounts ", "))))))
   (and mailsync-mode
        (not (equal accounts mailsync-accounts--valid))
        (list (mailsync-doctor--finding
               "accounts" "accounts" 'warning
               (if mailsync-accounts
                   "mailsync-accounts has changed since it was last read"
                 "what is discovered has changed since mailsync started")
               "M-x mailsync-restart" "command mailsync-restart")))))

;;;; What runs

(defun mailsync-doctor-check-state ()
  "Findings about what an engine that runs has said."
  (if (not mailsync-mode)
      (list (mailsync-doctor--finding
             "mailsync" "state" 'note "mailsync is off"
             "M-x mailsync-start" "command mailsync-start"))
    (let* ((dead (plist-get (and (fboundp 'mailsync-module--status)
                                 (mailsync-module--status))
                            :dead))
           (findings
            (append
             (and dead
                  (list (mailsync-doctor--finding
                         "mailsync" "state" 'problem
                         (format "the engine ended: %s" dead)
                         "M-x mailsync-restart, and report this"
                         "command mailsync-restart")))
             (and mailsync--breaks
                  (list (mailsync-doctor--finding
                         "mailsync" "state" 'warning
                         (format "the pipe to Emacs broke %d times"
                                 (length mailsync--breaks))
                         "report this, with M-x mailsync-log" "command mailsync-log")))
             (mapcan #'mailsync-doctor--account-state
                     (mailsync--account-names)))))
      (or findings
          (list (mailsync-doctor--finding
                 "mailsync" "state" 'ok "mailsync is on, and nothing fails"))))))

(defun mailsync-doctor--account-state (account)
  "Findings about what the engine has said of ACCOUNT."
  (let ((say (lambda (level text remedy place)
               (mailsync-doctor--finding (mailsync-doctor--account account)
                                         "state" level text remedy place)))
        (sync (mailsync-sync-state account)))
    (delq nil
          (list
           (pcase (alist-get account mailsync--states nil nil #'equal)
             (`(error . ,text)
              (funcall say 'problem (mailsync-doctor--said "not watched" text)
                       "M-x mailsync-restart, when what it says is mended"
                       "command mailsync-restart"))
             ((and `(,_ . ,text) (guard (not (equal (or text "") ""))))
              (funcall say 'note text "nothing; it goes on by itself" "")))
           (pcase (plist-get sync :phase)
             ('failing
              (funcall say 'problem
                       (mailsync-doctor--said "syncs fail" (plist-get sync :text))
                       "M-x mailsync-output shows what the syncer printed"
                       "command mailsync-output"))
             ('paused
              (funcall say 'warning
                       (mailsync-doctor--said "syncs are paused"
                                              (plist-get sync :text))
                       "M-x mailsync-resume" "command mailsync-resume")))
           (when-let ((store (car (mailsync-remote--in 'paused account))))
             (funcall say 'problem
                      (mailsync-doctor--said "its server is not watched"
                                             (plist-get store :text))
                      "M-x mailsync-resume, when what it says is mended"
                      "command mailsync-resume"))
           (when-let ((store (car (mailsync-remote--in 'waiting account))))
             (funcall say 'warning
                      (mailsync-doctor--said "its server cannot be watched now"
                                             (plist-get store :text))
                      "nothing, if the network is away; otherwise press t"
                      "command mailsync-doctor-try"))))))

(defun mailsync-doctor--said (what text)
  "WHAT, and TEXT, if there is any."
  (if (member text '(nil "")) what (concat what ": " text)))

;;;; Who else makes Gnus look

(defconst mailsync-doctor--pollers
  '(gnus-group-get-new-news gnus-topic-get-new-news gnus-demon-scan-mail
    gnus-demon-scan-news gnus-demon-nntp-get-new-news)
  "Functions with which Gnus looks at everything.")

(defun mailsync-doctor-check-demon ()
  "Findings about what makes Gnus look at everything from time to time."
  (let ((demons (and (boundp 'gnus-demon-handlers)
                     (seq-filter (lambda (handler)
                                   (memq (car-safe handler)
                                         mailsync-doctor--pollers))
                                 gnus-demon-handlers)))
        (timers (seq-filter (lambda (timer)
                              (and (memq (timer--function timer)
                                         mailsync-doctor--pollers)
                                   (timer--repeat-delay timer)))
                            (append timer-list timer-idle-list))))
    (or
     (append
      (mapcar (lambda (handler)
                (mailsync-doctor--finding
                 "Gnus" "polling" 'warning
                 (format "gnus-demon calls %s from time to time, and Emacs waits \
for all servers then" (car handler))
                 "take it out of gnus-demon-handlers (gnus-demon-cancel ends it)"
                 "option gnus-demon-handlers"))
              demons)
      (mapcar (lambda (timer)
                (mailsync-doctor--finding
                 "Gnus" "polling" 'warning
                 (format "a timer calls %s from time to time, and Emacs waits for \
all servers then" (timer--function timer))
                 "take it out of your init file (M-x list-timers shows it)"
                 "command list-timers"))
              timers))
     (list (mailsync-doctor--finding
            "Gnus" "polling" 'ok "nothing else makes Gnus look at everything")))))

;;;; Groups

(defconst mailsync-doctor--remedies
  '(("killed" "subscribe to the group: U in *Group*")
    ("zombie" "subscribe to the group: U in *Group*")
    ("unknown to Gnus" "correct :gnus-groups of the account"
     "option mailsync-accounts")
    ("level too high" "lower the group's level: S l in *Group*")
    ("never activated" "have Gnus look at the group once: M-g in *Group*")
    ("unplugged" "J j in *Group*")
    ("its parameter nnselect-rescan is not set"
     "set it, if the search is to follow: G p in *Group*")
    ("no group" "subscribe to its group (^ in *Group*, RET at the server, u), or \
name one in :gnus-groups" "option mailsync-accounts")
    ("ambiguous" "say by :gnus-server which one serves the account"
     "option mailsync-accounts"))
  "What to do about folders without a group, by reason: (REASON REMEDY PLACE).")

(defun mailsync-doctor--group-reason (change)
  "Why no group shows the folder of CHANGE, a string, or nil if one does."
  (let* ((groups (mailsync-gnus--all-groups change))
         (reasons (mapcar #'mailsync-gnus--why-not groups)))
    (cond
     ((memq nil reasons) nil)
     (reasons (car reasons))
     ((mailsync-gnus--sources change) nil)
     ((mailsync-gnus--ambiguous-p (plist-get change :account)) "ambiguous")
     (t "no group"))))

(defun mailsync-doctor--gnus-methods ()
  "The servers that Gnus is configured to have."
  (append (and (boundp 'gnus-select-method) (list gnus-select-method))
          (and (boundp 'gnus-secondary-select-methods)
               gnus-secondary-select-methods)
          (mapcar #'cdr (bound-and-true-p gnus-server-alist))))

(defun mailsync-doctor-check-groups (account changes)
  "Findings about the groups of ACCOUNT, whose folders CHANGES are.
These are plists as for `mailsync-gnus-folder-groups'; without any, the
account's folders are those that Gnus has."
  (let ((subject (mailsync-doctor--account account))
        (server (mailsync-account-get account :gnus-server))
        (reasons nil)
        (shown 0))
    (dolist (change changes)
      (if-let ((reason (mailsync-doctor--group-reason change)))
          (push (plist-get change :folder)
                (alist-get reason reasons nil nil #'equal))
        (cl-incf shown)))
    (append
     (and server
          (not (mailsync-gnus--imap-servers account))
          (list
           (if (seq-find (lambda (method)
                           (and (eq (car-safe method) 'nnimap)
                                (mailsync-gnus--called-p method server)))
                         (mailsync-doctor--gnus-methods))
               (mailsync-doctor--finding
                subject "groups" 'warning
                (format "no group of the nnimap server \"%s\", which :gnus-server \
names, is subscribed" server)
                "subscribe to some (^ in *Group*, RET at the server, u)" "")
             (mailsync-doctor--finding
              subject "groups" 'warning
              (format "Gnus has no nnimap server \"%s\" with groups, which \
:gnus-server names" server)
              "correct :gnus-server in mailsync-accounts"
              "option mailsync-accounts"))))
     (if changes
         (mapcar (pcase-lambda (`(,reason . ,folders))
                   (mailsync-doctor--groups-finding
                    subject reason (nreverse folders) shown))
                 (nreverse reasons))
       (setq shown (length (mailsync-gnus-account-folders account)))
       (and (zerop shown)
            (list (mailsync-doctor--finding
                   subject "groups" 'warning "no group of Gnus shows a folder of it"
                   "name its nnimap server in :gnus-server, and open that in *Server*"
                   "option mailsync-accounts"))))
     (and (> shown 0)
          (list (mailsync-doctor--finding
                 subject "groups" 'ok
                 (format "Gnus shows %d of %d folders" shown
                         (if changes (length changes) shown))))))))

(defun mailsync-doctor--groups-finding (subject reason folders shown)
  "A finding about FOLDERS of SUBJECT, without groups for REASON.
SHOWN is how many folders have some."
  (pcase-let* ((`(,remedy ,place)
                (or (cdr (assoc reason mailsync-doctor--remedies))
                    (and (string-prefix-p "server" reason)
                         '("open the server: ^ in *Group*, then O"))
                    '("read the mail of these in a group of another kind")))
               (level (if (or (zerop shown) (member "INBOX" folders))
                          'warning
                        'note)))
    (mailsync-doctor--finding
     subject "groups" level
     (format "%s: %s"
             (concat (mailsync-doctor--count (length folders)) " "
                     (pcase reason
                       ("no group" "that no group of Gnus shows")
                       ("ambiguous" "that several nnimap servers may show")
                       (_ (format "whose group is not checked (%s)" reason))))
             (mailsync-doctor--some folders))
     remedy place)))

(defun mailsync-doctor--count (number)
  "NUMBER folders, in words."
  (if (= number 1) "1 folder" (format "%d folders" number)))

;;;; Discovery

(defun mailsync-doctor-directories (accounts)
  "The maildirs of ACCOUNTS, a list as `mailsync-accounts' is, as files."
  (mapcan (lambda (account)
            (mapcar (lambda (name)
                      (directory-file-name (expand-file-name name "~/")))
                    (ensure-list (plist-get (cdr account) :maildir))))
          (copy-sequence accounts)))

(defun mailsync-doctor-against-discovery (accounts proposed &optional truenames)
  "Findings about what PROPOSED has and ACCOUNTS lack.
Both are lists as `mailsync-accounts' is; PROPOSED is what discovery of
the user's syncers and of Gnus has come to, or nil where nobody has
looked.  Maildirs are compared by their TRUENAMES, an alist, where those are
known; what is below a maildir belongs to it."
  (let* ((truename (lambda (name) (or (cdr (assoc name truenames)) name)))
         (known (mapcar (lambda (name)
                          (file-name-as-directory (funcall truename name)))
                        (mailsync-doctor-directories accounts)))
         (known-p (lambda (name)
                    (let ((name (file-name-as-directory (funcall truename name))))
                      (seq-some (lambda (root) (string-prefix-p root name))
                                known)))))
    (mapcan
     (lambda (account)
       (when-let ((missing (seq-remove known-p
                                       (mailsync-doctor-directories (list account)))))
         (list (mailsync-doctor--finding
                "accounts" "discovery" 'note
                (format "%s would be an account \"%s\", which is not configured"
                        (mailsync-doctor--some
                         (mapcar #'abbreviate-file-name missing))
                        (car account))
                "add it to mailsync-accounts as M-x mailsync-setup shows it, if its \
mail matters here"
                "option mailsync-accounts"))))
     (copy-sequence proposed))))

(defun mailsync-doctor-unusable (proposal)
  "A finding about PROPOSAL, one of `mailsync-discover' that is not used."
  (mailsync-doctor--finding
   "accounts" "discovery" 'warning
   (format "\"%s\" was discovered and is not used: %s" (plist-get proposal :name)
           (string-join (plist-get proposal :reasons) "; "))
   "mend that, or M-x mailsync-setup: write the accounts that you want"
   "command mailsync-setup"))

(provide 'mailsync-doctor-checks)
;;; mailsync-doctor-checks.el ends here
