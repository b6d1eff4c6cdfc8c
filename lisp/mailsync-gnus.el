;;; mailsync-gnus.el --- Gnus's side of mailsync  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When a folder changes, the groups that show it are checked, and no
;; others.
;;
;;   mailsync-gnus-folders.el   which groups show a folder
;;   mailsync-gnus-items.el     the folders that wait, and who waits for them
;;   mailsync-gnus-work.el      what is to be done next, in small pieces
;;   mailsync-gnus-moment.el    whether this is a moment to do it
;;   mailsync-gnus.el           when; and what the core and the user call
;;
;; What is to be done with a group, or a folder:
;;
;;   mailsync-gnus-check.el     how it is checked without disturbing
;;   mailsync-gnus-maildir.el   how nnmaildir's cost no more than what is new
;;   mailsync-gnus-imap.el      how nnimap's are, without waiting
;;   mailsync-gnus-ranges.el    which messages are read
;;   mailsync-gnus-flags.el     flags that somebody else took away
;;   mailsync-gnus-split.el     how mail is split by the user's rules
;;   mailsync-gnus-sources.el   how a maildir that Gnus empties is fetched
;;   mailsync-gnus-subscribe.el what becomes of folders without a group
;;
;; And what follows from that, or goes on beside it:
;;
;;   mailsync-gnus-news.el      which messages in a group are news
;;   mailsync-gnus-headers.el   from whom they are, of nnimap
;;   mailsync-gnus-summary.el   what happens to a Summary that is open (with
;;                              -summary-draw.el and -summary-flags.el)
;;   mailsync-gnus-topics.el    the counts of topics
;;   mailsync-gnus-total.el     the sum of counts for the mode line
;;   mailsync-gnus-nnimap.el    which nnimap servers are watched by themselves
;;
;; The work is done by `mailsync-gnus--step', in small slices, and only
;; while Emacs waits for the user in its command loop and the user is
;; idle (`mailsync-gnus--refusal').  One repeating idle timer, which is
;; there only while there is work, catches the next idle moment; one
;; ordinary timer goes on within this one.  A user who types without a
;; pause is served after `mailsync-gnus-max-wait', between two keys.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-sources)
(require 'mailsync-gnus-items)
(require 'mailsync-gnus-subscribe)
(require 'mailsync-gnus-moment)
(require 'mailsync-gnus-nnimap)
(require 'mailsync-gnus-total)
(require 'mailsync-gnus-summary)
(require 'mailsync-gnus-work)
(require 'mailsync-gnus-news)
(require 'mailsync-menu)

;;;; Internal variables

(defconst mailsync-gnus--slice 0.05
  "Work for so many seconds at most in an idle moment, then look for input.")

(defconst mailsync-gnus--slice-between-keys 0.016
  "Work for so many seconds at most between two keystrokes.")

(defconst mailsync-gnus--after-key 0.02
  "Work between keystrokes begins so many seconds after one.
Then Emacs has drawn what it did, and the next one is as far away
as it will be.")

(defconst mailsync-gnus--resolve-timeout 5
  "Wait so many seconds for file names to be resolved before going on.")

(defvar mailsync-gnus--idle-timer nil
  "Repeating idle timer, for the next idle moment, while there is work.")

(defvar mailsync-gnus--catch-up-timer nil
  "Repeating idle timer, for a longer idle moment, while it is needed.")

(defvar mailsync-gnus--key-timer nil
  "Repeating idle timer, for the moment after a key, while work is overdue.")

(defvar mailsync-gnus--timer nil
  "Ordinary timer that goes on with the work.")

(defvar mailsync-gnus--resolve-timer nil
  "Timer that ends waiting for file names to be resolved.")

(defvar mailsync-gnus--refusals 0
  "How often in a row work was refused although the user was idle.")

(defvar mailsync-gnus--waiting-since nil
  "Time since when there has been work without a moment for it, or nil.")

(defvar mailsync-gnus--threshold nil
  "The user's `gc-cons-threshold' while garbage is held back, or nil.")

(defvar mailsync-gnus--release-timer nil
  "Idle timer that ends holding back garbage.")

(defvar mailsync-gnus--checking nil
  "What the core was last told about a check being under way.")

(defvar mailsync-gnus--set-up nil
  "Non-nil between `mailsync-gnus-setup' and `mailsync-gnus-teardown'.")

;;;; Declarations

(defvar gnus-group-buffer)
(defvar gnus-group-mode-map)
(defvar mailsync-mode-line)

(declare-function gnus-find-method-for-group "gnus" (group &optional info))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--undisturbed "mailsync-log" (function &rest args))
(declare-function mailsync--run-hook-safely "mailsync-log" (hook &rest args))
(declare-function mailsync--check-skipped "mailsync-dispatch" ())
(declare-function mailsync--set-checking "mailsync-dispatch" (flag))

;;;; When

(defun mailsync-gnus--find-groups ()
  "Find the groups of the folders that changed; resolve names if need be."
  (when (mailsync-gnus--map-items)
    (mailsync-gnus--resolve)))

(defun mailsync-gnus--resolve ()
  "Have the names of Gnus's directories resolved, then go on."
  (mailsync-gnus--cancel 'mailsync-gnus--resolve-timer)
  (setq mailsync-gnus--resolve-timer
        (run-at-time mailsync-gnus--resolve-timeout nil
                     #'mailsync-gnus--resolve-late))
  (mailsync-gnus--refresh-index #'mailsync-gnus--resolved))

(defun mailsync-gnus--resolved ()
  "The names of Gnus's directories were resolved."
  (mailsync-gnus--cancel 'mailsync-gnus--resolve-timer)
  (setq mailsync-gnus--names-late nil)
  (mailsync-gnus--arm))

(defun mailsync-gnus--resolve-late ()
  "Names are not resolved in time: nobody shall wait any longer."
  (setq mailsync-gnus--resolve-timer nil
        mailsync-gnus--names-late t)
  (mailsync-log-add 'warning "Directories of Gnus's servers do not answer")
  (mailsync-gnus--arm))

(defun mailsync-gnus--overdue-p ()
  "Non-nil if work has waited for too long for an idle moment."
  (and mailsync-gnus--waiting-since
       (>= (- (float-time) mailsync-gnus--waiting-since)
           (mailsync--seconds 'mailsync-gnus-max-wait))))

(defun mailsync-gnus--guard (function)
  "Call FUNCTION; if it signals an error, give up what is pending.
That is a bug of ours: it must be seen, leave nobody waiting, and
not come back for ever."
  (condition-case err
      (funcall function)
    (quit (mailsync-gnus--wake))
    (error
     (mailsync-log-add 'error "checking Gnus's groups: %s"
                       (error-message-string err))
     (mailsync--once (list 'mailsync-gnus--guard (car err)) nil
                     "internal error in a check of Gnus's groups: %s; please report this"
                     (error-message-string err))
     (mailsync-gnus--abandon))))

(defun mailsync-gnus--step ()
  "Do a slice of the work if this is a moment for it.
The function of all timers."
  (mailsync--undisturbed #'mailsync-gnus--guard #'mailsync-gnus--step-1))

(defun mailsync-gnus--step-1 ()
  "Do what `mailsync-gnus--step' does."
  (mailsync-gnus--cancel 'mailsync-gnus--timer)
  (if (not (mailsync-gnus-ready-p))
      (mailsync-gnus--gnus-gone)
    (let* ((overdue (mailsync-gnus--overdue-p))
           (refusal (mailsync-gnus--refusal overdue)))
      (cond
       (refusal
        (cl-incf mailsync-gnus--refusals))
       (t
        (setq mailsync-gnus--refusals 0
              mailsync-gnus--quit-time nil)
        (if (mailsync-gnus--refusal) ; the user types, but it is overdue
            (let ((mailsync-gnus--hurry t))
              (mailsync-gnus--slice mailsync-gnus--slice-between-keys))
          (setq mailsync-gnus--waiting-since nil)
          (mailsync-gnus--slice mailsync-gnus--slice))
        (when mailsync-gnus--quit-time
          (setq refusal 'quit))))
      (mailsync-gnus--arm refusal))))

(defun mailsync-gnus--slice (seconds)
  "Work for about SECONDS."
  (let ((mailsync-gnus--running t)
        (end (+ (float-time) seconds))
        unit)
    (mailsync-gnus--count :slices)
    (mailsync-gnus--find-groups)
    (while (and (consp (setq unit (mailsync-gnus--next-unit)))
                (progn
                  (apply (car unit) (cdr unit))
                  (mailsync-gnus--find-groups)
                  (not (or quit-flag
                           mailsync-gnus--quit-time
                           (input-pending-p)
                           (> (float-time) end))))))))

(defun mailsync-gnus--arm (&optional refusal)
  "Arm the timers for the work that there is.
REFUSAL is why it may not be done at this moment."
  (when mailsync-gnus--set-up
    (mailsync-gnus--guard (lambda () (mailsync-gnus--arm-1 refusal)))))

(defun mailsync-gnus--arm-1 (refusal)
  "Do what `mailsync-gnus--arm' does after REFUSAL."
  (let* ((unit (if (mailsync-gnus-ready-p)
                   (if (mailsync-gnus--mappable-p)
                       '(mailsync-gnus--find-groups)
                     (mailsync-gnus--next-unit))))
         (due (consp unit))
         (idle (mailsync-gnus--idle)))
    (mailsync-gnus--cancel 'mailsync-gnus--timer)
    (if due
        (progn
          (unless mailsync-gnus--waiting-since
            (setq mailsync-gnus--waiting-since (float-time)))
          (unless (and idle (>= idle (mailsync--seconds 'mailsync-gnus-idle-delay)))
            (mailsync-gnus--hold-garbage))
          (unless mailsync-gnus--idle-timer
            (setq mailsync-gnus--idle-timer
                  (run-with-idle-timer (mailsync--seconds 'mailsync-gnus-idle-delay) t
                                       #'mailsync-gnus--step))))
      (setq mailsync-gnus--waiting-since nil
            mailsync-gnus--refusals 0)
      (mailsync-gnus--cancel 'mailsync-gnus--idle-timer))
    (if (not (mailsync-gnus--overdue-p))
        (mailsync-gnus--cancel 'mailsync-gnus--key-timer)
      (unless mailsync-gnus--key-timer
        (setq mailsync-gnus--key-timer
              (run-with-idle-timer mailsync-gnus--after-key t
                                   #'mailsync-gnus--step))))
    (if (zerop (hash-table-count mailsync-gnus--catch-up))
        (mailsync-gnus--cancel 'mailsync-gnus--catch-up-timer)
      (unless mailsync-gnus--catch-up-timer
        (setq mailsync-gnus--catch-up-timer
              (run-with-idle-timer (mailsync--seconds 'mailsync-gnus-catch-up-delay) t
                                   #'mailsync-gnus--step))))
    (when-let* ((seconds
                 (cond
                  ((numberp unit) unit)
                  ((not due) nil)
                  (t (mailsync-gnus--delay refusal idle)))))
      (setq mailsync-gnus--timer
            (run-at-time seconds nil #'mailsync-gnus--step)))
    (mailsync-gnus--tell-checking)))

(defun mailsync-gnus--delay (refusal idle)
  "Seconds to the next attempt, after REFUSAL, Emacs being idle for IDLE.
The idle timer makes an attempt in each idle period besides."
  (let ((overdue (max 0.05 (- (+ mailsync-gnus--waiting-since
                                 (mailsync--seconds 'mailsync-gnus-max-wait))
                              (float-time)))))
    (cond
     ((and idle (null refusal))
      (max 0 (- (mailsync--seconds 'mailsync-gnus-idle-delay) idle)))
     ((memq refusal '(nil input busy))
      overdue)
     ((eq refusal 'quit) mailsync--quit-pause)
     ;; Somebody else has Emacs, and may for hours.
     (t (min 8 (* 0.1 (expt 2 (min 10 mailsync-gnus--refusals))))))))

;; Where Gnus knows many messages, to collect garbage takes longer than
;; there is between two keys.  While folders wait for the user to pause,
;; what they and their checks leave makes more of it.  So it is left to the
;; next idle moment, unless it grows to what a check is allowed anyway.

(defun mailsync-gnus--hold-garbage ()
  "Have no garbage collected until Emacs is idle, within limits."
  (let ((threshold (default-toplevel-value 'gc-cons-threshold)))
    (when (and (null mailsync-gnus--threshold)
               (< threshold mailsync-gnus--gc-threshold))
      (setq mailsync-gnus--threshold threshold)
      (set-default-toplevel-value 'gc-cons-threshold
                                  mailsync-gnus--gc-threshold)
      (setq mailsync-gnus--release-timer
            (run-with-idle-timer (mailsync--seconds 'mailsync-gnus-idle-delay) nil
                                 #'mailsync-gnus--release-garbage)))))

(defun mailsync-gnus--release-garbage ()
  "Have garbage collected as the user wants it again."
  (mailsync-gnus--cancel 'mailsync-gnus--release-timer)
  (when mailsync-gnus--threshold
    ;; Unless somebody has set it meanwhile.
    (when (eql (default-toplevel-value 'gc-cons-threshold)
               mailsync-gnus--gc-threshold)
      (set-default-toplevel-value 'gc-cons-threshold
                                  mailsync-gnus--threshold))
    (setq mailsync-gnus--threshold nil)))

(defun mailsync-gnus--cancel (variable)
  "Cancel the timer in VARIABLE."
  (when (timerp (symbol-value variable))
    (cancel-timer (symbol-value variable)))
  (set variable nil))

(defun mailsync-gnus--wake ()
  "Go on with the work soon; may be called from anywhere."
  (when mailsync-gnus--set-up
    (mailsync-gnus--cancel 'mailsync-gnus--timer)
    (setq mailsync-gnus--timer (run-at-time 0 nil #'mailsync-gnus--step))))

(defun mailsync-gnus-go-on ()
  "Go on with the work, whatever timers a quit has ended."
  (dolist (timer '(mailsync-gnus--idle-timer mailsync-gnus--key-timer
                   mailsync-gnus--catch-up-timer mailsync-gnus--total-timer))
    (mailsync-gnus--cancel timer))
  (mailsync-gnus--total-soon)
  (unless (or mailsync-gnus--running (mailsync-gnus--whole-p))
    (mailsync-gnus--begin-anew))
  (mailsync-gnus--wake))

(defun mailsync-gnus--begin-anew ()
  "Have everything checked that waits, as if nothing of it had begun."
  (let (calls items)
    (maphash (lambda (call _) (push call calls)) mailsync-gnus--calls)
    (mailsync-gnus--imap-close-all)
    (mailsync-gnus--forget-claims)
    (setq items (mailsync-gnus--add-anew))
    (mapc #'mailsync-gnus--begin-call calls)
    (mailsync-log-add 'debug "a quit came between: %s folders and %s checks begin anew"
                      (length items) (length calls))
    ;; Last: whoever is told may ask for more.
    (mapc #'mailsync-gnus--begun calls)))

(defun mailsync-gnus-server-is-back (account)
  "Ask again what shows ACCOUNT, whose server is there again.
It may have failed while the server was away, and not be due for minutes."
  (when mailsync-gnus--index
    (dolist (shown (mailsync-gnus--imap-servers account))
      (setf (mailsync-gnus--imap-not-before
             (mailsync-gnus--imap-server (car shown)))
            0))
    (mailsync-gnus--wake)))

(defun mailsync-gnus--tell-checking ()
  "Tell the core whether an answer is being waited for."
  (let ((checking (and (or mailsync-gnus--sent mailsync-gnus--newcomers-asked)
                       t)))
    (unless (eq checking mailsync-gnus--checking)
      (setq mailsync-gnus--checking checking)
      (mailsync--set-checking checking))))

;;;; Gnus comes and goes

(defun mailsync-gnus--gnus-gone ()
  "Gnus does not run (any more): tell everyone, keep the folders.
They are checked once Gnus has started."
  (mailsync-gnus--imap-close-all)
  (mailsync-gnus--forget-index)
  (mailsync-gnus--total-soon)
  (dolist (timer '(mailsync-gnus--timer mailsync-gnus--idle-timer
                   mailsync-gnus--key-timer
                   mailsync-gnus--catch-up-timer mailsync-gnus--resolve-timer))
    (mailsync-gnus--cancel timer))
  (mailsync-gnus--release-garbage)
  (setq mailsync-gnus--risen nil
        mailsync-gnus--waiting-since nil)
  (mailsync-gnus--drop-claims)
  (clrhash mailsync-gnus--left-alone)
  (let ((items (mailsync-gnus--add-anew)))
    ;; Last: whoever is told may ask for more.
    (mailsync-gnus--tell-checking)
    (dolist (item items)
      (mailsync-gnus--answer-all item 'not-running))))

(defun mailsync-gnus--started ()
  "Gnus has started: check what changed before.  For `gnus-started-hook'."
  (maphash (lambda (_ item)
             (setf (mailsync-gnus--item-stamp item)
                   mailsync-gnus--index-request))
           mailsync-gnus--pending)
  (mailsync-gnus--resolve)
  (mailsync-gnus--arm)
  (mailsync-gnus--total-soon)
  (mailsync-gnus-nnimap-look-soon)
  (mailsync--check-skipped))

(defun mailsync-gnus--exited ()
  "Gnus has quit.  For `gnus-after-exiting-gnus-hook'."
  (mailsync-gnus-nnimap-look-soon)
  (mailsync-gnus--gnus-gone))

(defun mailsync-gnus--show-mode-line ()
  "Show mailsync's state in the mode line of *Group*.
For `gnus-group-mode-hook'.  Gnus leaves this variable alone."
  (setq mode-line-process '("" mailsync-mode-line)))

;;;; The menu

(defun mailsync-gnus--menu-setup ()
  "Put the menu into the menu bar of *Group*.  For `gnus-group-mode-hook'."
  (define-key gnus-group-mode-map [menu-bar mailsync]
    (cons "Mailsync" mailsync-menu)))

(defun mailsync-gnus--menu-teardown ()
  "Take the menu out of the menu bar of *Group*."
  (when (boundp 'gnus-group-mode-map)
    (define-key gnus-group-mode-map [menu-bar mailsync] nil)))

;;;; What the core calls

(defun mailsync-gnus-setup ()
  "Begin to serve Gnus.  It must be loaded, but need not run."
  (unless mailsync-gnus--set-up
    (setq mailsync-gnus--set-up t)
    (add-hook 'gnus-group-mode-hook #'mailsync-gnus--show-mode-line)
    (add-hook 'gnus-group-mode-hook #'mailsync-gnus--menu-setup)
    (add-hook 'gnus-started-hook #'mailsync-gnus--started)
    (add-hook 'gnus-after-exiting-gnus-hook #'mailsync-gnus--exited)
    (mailsync-gnus--total-setup)
    (mailsync-gnus--news-setup)
    (mailsync-gnus--maildir-setup)
    (add-hook 'gnus-select-group-hook #'mailsync-gnus--summary-entered)
    (add-hook 'gnus-exit-group-hook #'mailsync-gnus--summary-leaving)
    (when-let* ((buffer (get-buffer gnus-group-buffer)))
      (with-current-buffer buffer
        (mailsync-gnus--show-mode-line)
        (mailsync-gnus--menu-setup)))
    (when (mailsync-gnus-ready-p)
      (mailsync-gnus--started)))
  (mailsync-gnus-nnimap-setup))

(defun mailsync-gnus-teardown ()
  "Stop serving Gnus: close connections, drop what is pending, tell everyone."
  (when mailsync-gnus--set-up
    (setq mailsync-gnus--set-up nil)
    (remove-hook 'gnus-group-mode-hook #'mailsync-gnus--show-mode-line)
    (remove-hook 'gnus-group-mode-hook #'mailsync-gnus--menu-setup)
    (remove-hook 'gnus-started-hook #'mailsync-gnus--started)
    (remove-hook 'gnus-after-exiting-gnus-hook #'mailsync-gnus--exited)
    (mailsync-gnus--news-teardown)
    (mailsync-gnus--maildir-teardown)
    (mailsync-gnus--menu-teardown)
    (remove-hook 'gnus-select-group-hook #'mailsync-gnus--summary-entered)
    (remove-hook 'gnus-exit-group-hook #'mailsync-gnus--summary-leaving)
    (when-let* ((buffer (get-buffer gnus-group-buffer)))
      (with-current-buffer buffer
        (when (equal mode-line-process '("" mailsync-mode-line))
          (kill-local-variable 'mode-line-process)
          (force-mode-line-update))))
    (mailsync-gnus--gnus-gone)
    (mailsync-gnus-nnimap-teardown)
    (mailsync-gnus--total-teardown)
    (clrhash mailsync-gnus--pending)
    (clrhash mailsync-gnus--next)
    (clrhash mailsync-gnus--calls)
    (setq mailsync-gnus--unmapped nil)))

(defun mailsync-gnus-check-changes (account changes done)
  "Check the groups of some folders of ACCOUNT, then call DONE.
CHANGES say which folders.  Returns at once.  DONE is called
once, with an alist from folder to `checked', `no-group',
`not-running' or `failed', and with a list of those CHANGES that
brought a message; each of these has gained `:groups', a list
of (GROUP OLD NEW), numbers of unread messages.

While Gnus does not run, DONE is called at once, and the folders
are checked when it has started."
  (let ((call (mailsync-gnus--make-call :account account :changes changes
                                        :done done)))
    (mailsync-gnus--begin-call call)
    (if (and mailsync-gnus--set-up (mailsync-gnus-ready-p))
        (mailsync-gnus--arm)
      (mailsync-gnus--gnus-gone))
    (mailsync-gnus--begun call)))

(defun mailsync-gnus-status ()
  "What mailsync knows of Gnus, for the status buffer, a plist.
`:ready' is non-nil if Gnus runs, `:pending' the number of folders
that wait for their check, `:held-up' says until when they do where
that is more than a pause in typing, `:asked' lists the nnimap servers whose
answer is awaited, `:silent' those that did not answer the last
time, `:catch-up' is the number of groups to be looked at in full
later, `:left-alone' is an alist from folders and groups to why
they are not checked, `:last-error' is (GROUP . TEXT), where a mail
source is named by its directory, and an nnimap server whose split
rules are wrong by its name, `:checks' is a plist of counts."
  (list :ready (mailsync-gnus-ready-p)
        :pending (hash-table-count mailsync-gnus--pending)
        :held-up (and (mailsync-gnus-ready-p)
                      (> (hash-table-count mailsync-gnus--pending) 0)
                      (pcase (mailsync-gnus--held-up)
                        ('minibuffer "the minibuffer is left")
                        ('macro "the keyboard macro is finished")
                        ('demon "`gnus-inhibit-demon' is nil")))
        :asked (mapcar #'car (append mailsync-gnus--sent
                                     mailsync-gnus--newcomers-asked))
        :silent (cl-loop for (name . server) in mailsync-gnus--imap-servers-asked
                         when (> (mailsync-gnus--imap-failures server) 0)
                         collect name)
        :catch-up (hash-table-count mailsync-gnus--catch-up)
        :left-alone (let ((alist nil))
                      (maphash (lambda (name reason)
                                 (push (cons name reason) alist))
                               mailsync-gnus--left-alone)
                      (nreverse alist))
        :last-error mailsync-gnus--last-error
        :checks (copy-sequence mailsync-gnus--counts)))

;;;; What the user calls

;;;###autoload
(defun mailsync-gnus-check (&optional groups)
  "Check GROUPS of Gnus now, and return when that is done.
GROUPS are full names of groups, a list or one string; nil means
all that Gnus has active.  Interactively, check the groups that
are marked with the process mark in *Group*, or all that are
active.

Return an alist from group to `checked', `failed' or the reason,
a string, why the group is left alone; nil if Gnus does not run."
  (interactive
   (list (and (mailsync-gnus-ready-p)
              (buffer-local-value 'gnus-group-marked
                                  (get-buffer gnus-group-buffer)))))
  (if (not (mailsync-gnus-ready-p))
      (when (called-interactively-p 'any)
        (user-error "Gnus is not running"))
    (unless mailsync-gnus--running
      (let ((results (mailsync-gnus--check-now
                      (if groups
                          (ensure-list groups)
                        (mailsync-gnus--active-groups)))))
        (when mailsync-gnus--risen
          (mailsync-gnus--run-hooks))
        results))))

(defun mailsync-gnus--check-now (groups)
  "Check GROUPS, wait for it, and return an alist from group to result."
  (let ((mailsync-gnus--running t)
        (servers nil)
        (results nil))
    (cl-flet ((take (report)
                (mailsync-gnus--report report nil)
                (pcase-let ((`(,group ,result) report))
                  (push (cons group (if (stringp result) 'failed result))
                        results))))
      (dolist (group groups)
        (let* ((reason (mailsync-gnus--why-not group))
               (method (unless reason (gnus-find-method-for-group group))))
          (cond
           (reason
            (push (cons group reason) results)
            (mailsync-gnus--leave-alone group reason))
           ((mailsync-gnus--imap-asynchronous-p method)
            (push group (alist-get method servers nil nil #'equal)))
           (t
            (let (report)
              (while (eq 'partial
                         (nth 1 (setq report (mailsync-gnus--check-group
                                              group '(unknown))))))
              (take report))))))
      ;; All groups of a server in one go, as in the background.
      (pcase-dolist (`(,method . ,members) servers)
        (mapc #'take (mailsync-gnus--imap-check-groups method
                                                       (nreverse members)))))
    (nreverse results)))

;; The names of mailsync 0.4, which users' mswatch configurations name.
;;;###autoload
(define-obsolete-function-alias 'mailsync/gnus-check #'mailsync-gnus-check "0.1.0")
;;;###autoload
(define-obsolete-function-alias 'mailsync/gnus-check-handler
  #'mailsync-gnus-check "0.1.0")

(provide 'mailsync-gnus)
;;; mailsync-gnus.el ends here
