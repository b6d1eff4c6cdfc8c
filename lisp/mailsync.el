;;; mailsync.el --- Realtime mail for Gnus that never makes you wait  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; Author: The mailsync authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: mail, news
;; URL: https://github.com/mailsync/mailsync
;; SPDX-License-Identifier: GPL-3.0-or-later

;; This program is free software; you can redistribute it and/or modify
;; it under the terms of the GNU General Public License as published by
;; the Free Software Foundation, either version 3 of the License, or
;; (at your option) any later version.

;; This program is distributed in the hope that it will be useful,
;; but WITHOUT ANY WARRANTY; without even the implied warranty of
;; MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
;; GNU General Public License for more details.

;; You should have received a copy of the GNU General Public License
;; along with this program.  If not, see <https://www.gnu.org/licenses/>.

;;; Commentary:

;; A message is renamed into a Maildir; a background thread of the module
;; sees it and tells, through a pipe, which folder changed; Gnus looks at just
;; that group, when it does not disturb.  Put this into .gnus.el:
;;
;;     (require 'mailsync)
;;     (mailsync-mode 1)
;;
;; and see README.org.  This file has the options, the mode and the commands.
;; The way of a change from the pipe to the hooks is mailsync-dispatch.el's
;; business, what a check is, mailsync-gnus.el's.

;;; Code:

(require 'mailsync-log)
(require 'mailsync-accounts)
(require 'mailsync-dispatch)
(require 'mailsync-history)
(require 'mailsync-module)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-sync)
(require 'mailsync-status)
(require 'mailsync-folders)
(require 'mailsync-menu)

;;;; Customization

(defcustom mailsync-check-function #'mailsync-check-by-gnus
  "The function that checks the folders that changed.
It is called with ACCOUNT (a name), CHANGES (a list of plists as
`mailsync-changed-functions' gets them) and DONE, must return at once, and
must call DONE once, then or later, with an alist from folders to `checked',
`no-group', `not-running' or `failed'.  A second argument of DONE, if given,
is the list of those changes that brought a message, with `:groups' a list
of (GROUP OLD NEW), the counts of unread messages."
  :type 'function
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-started-functions nil
  "Functions called with an account's name when it is being watched."
  :type 'hook
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-changed-functions nil
  "Functions called with an account's name and changes, before any check.
A change is a plist: `:account', `:folder' (canonical name), `:directory'
\(as you spell it; nil where there is none here), `:truename', `:kinds' (a
list of `new', `flags', `gone', `folder-created', `folder-deleted', `unknown')
and `:origins' (a list of `local', `sync', `remote')."
  :type 'hook
  :group 'mailsync
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
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-state-change-functions nil
  "Functions called with an account's name and its new state, a symbol.
The state is `starting', `watching', `waiting' or `error'; besides, while it
is synced, `paused' and `failing', and while a server is watched, `offline' and
`paused', and then `watching' when that is over."
  :type 'hook
  :group 'mailsync
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
  :set #'mailsync-accounts--set
  :group 'mailsync
  :package-version '(mailsync . "0.1.0"))

;;;; Declarations

;; Where no package manager does it.
(autoload 'mailsync-doctor "mailsync-doctor" nil t)
(autoload 'mailsync-notify-desktop "mailsync-notify-desktop")
(autoload 'mailsync-notify-echo "mailsync-notify")
(autoload 'mailsync-setup "mailsync-setup" nil t)

(autoload 'mailsync-discover-begin "mailsync-discover")
(autoload 'mailsync-discover-end "mailsync-discover")

(declare-function mailsync-gnus-setup "mailsync-gnus")
(declare-function mailsync-gnus-teardown "mailsync-gnus")
(declare-function mailsync-module--check "ext:mailsync-engine")
(declare-function mailsync-module--configure "ext:mailsync-engine")
(declare-function mailsync-module--farewell "ext:mailsync-engine")
(declare-function mailsync-module--listen "ext:mailsync-engine")
(declare-function mailsync-module--start "ext:mailsync-engine")
(declare-function mailsync-module--stop "ext:mailsync-engine")

;;;; Internal variables

(defvar mailsync--watching nil
  "Non-nil while accounts are watched.")

(defvar mailsync--configure-timer nil
  "The timer that goes over to a new configuration, or nil.")

;;;; The mode

;;;###autoload
(define-minor-mode mailsync-mode
  "Watch the Maildirs of `mailsync-accounts' and keep Gnus up to date.
`mailsync-status' shows how it is going, `mailsync-log' what happened."
  :global t
  :group 'mailsync
  ;; Half started or half stopped it would be neither.
  (mailsync--undisturbed
   (lambda ()
     (cond
      ((not mailsync-mode)
       (mailsync--stop))
      ;; Gnus reads .gnus.el, and so turns this on, each time it starts.
      (mailsync--watching
       (mailsync--meet-gnus))
      (t
       (let ((started nil))
         (unwind-protect
             (condition-case err
                 (progn
                   (mailsync--start)
                   (setq started t))
               ((error quit)
                (mailsync-log-add 'error "not started: %s" (error-message-string err))
                (signal (car err) (cdr err))))
           ;; What is the user's, a syncer for one, may throw as well.
           (unless started
             (setq mailsync-mode nil)
             (mailsync--stop)))))))))

;;;###autoload
(defun mailsync-start ()
  "Start watching; nothing happens if it is on already."
  (interactive)
  (unless mailsync-mode
    (mailsync--undisturbed #'mailsync-mode 1)))

;;;###autoload
(defun mailsync-stop ()
  "Stop watching; nothing happens if it is off already."
  (interactive)
  (when mailsync-mode
    (mailsync--undisturbed #'mailsync-mode -1)))

;;;###autoload
(defun mailsync-restart ()
  "Go over to the configuration as it is now; start if mailsync is off.
What stays as it was goes on being watched without a gap; only the
difference is begun or ended.  What failed is begun anew."
  (interactive)
  (when mailsync-mode
    ;; After an upgrade these Lisp files may be newer than the engine, which goes on as it is.
    (mailsync-module-load))
  (mailsync--undisturbed
   (lambda ()
     (cond
      ((not mailsync-mode) (mailsync-start))
      ((mailsync--reconfigure)
       ;; Which servers of Gnus's are meant may have changed.
       (mailsync--meet-gnus))
      (t (mailsync-stop)
         (mailsync-start))))))

;;;###autoload
(defun mailsync-check (&optional account)
  "Have every folder of ACCOUNT checked now; of all accounts if it is nil.
Interactively, a prefix argument asks for the account."
  (interactive
   (list (and current-prefix-arg
              (completing-read "Check account: " (mailsync--account-names)
                               nil t))))
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (mailsync--call #'mailsync-module--check
                  (and account (mailsync-pipe-encode-text account))
                  nil))

;;;###autoload
(defun mailsync-version ()
  "Say which version this is; return it."
  (interactive)
  (let ((text (format "mailsync %s (module %s), Emacs %s"
                      mailsync-module--version-wanted
                      (or (mailsync-module--version-found) "not there")
                      emacs-version)))
    (when (called-interactively-p 'interactive)
      (message "%s" text))
    text))

(defun mailsync--reconfigure (&optional quietly)
  "Have the engine watch the accounts as they are configured now.
Return nil if there is no engine that could.  QUIETLY means that
the user has not asked for it: what was said is not said again."
  (mailsync--cancel-reconfigure)
  (when (process-live-p mailsync--pipe)
    (unless quietly
      (mailsync--once-clear))
    (mailsync--expect-discovery)
    (let* ((accounts (mailsync-accounts-read))
           (vector (mailsync-accounts-for-module accounts)))
      (when (condition-case nil
                (mailsync-module--configure vector (not quietly))
              (error nil))
        (mailsync--keep-states (mapcar #'car accounts))
        (mailsync-sync-keep vector)
        (mailsync--listen)
        (mailsync-log-add 'info "configured anew: %s"
                          (mapconcat #'car accounts ", "))
        (when (or (eq mailsync-accounts--discovered 'looking)
                  (not (or quietly mailsync-accounts)))
          (mailsync-discover-begin))
        t))))

(defun mailsync--expect-discovery ()
  "Where no account is configured, what was discovered holds, or will."
  (cond
   (mailsync-accounts
    (setq mailsync-accounts--discovered nil))
   ((null mailsync-accounts--discovered)
    (setq mailsync-accounts--discovered 'looking))))

(defun mailsync--discovered (accounts)
  "ACCOUNTS are what stands for `mailsync-accounts' while that is nil."
  (let ((accounts (or accounts 'default)))
    (when (and mailsync--watching (null mailsync-accounts)
               (not (equal accounts mailsync-accounts--discovered)))
      (setq mailsync-accounts--discovered accounts)
      (mailsync--reconfigure t)
      (mailsync--meet-gnus))))

(defun mailsync--cancel-reconfigure ()
  "An option that changed needs no more than is being done."
  (when (timerp mailsync--configure-timer)
    (cancel-timer mailsync--configure-timer))
  (setq mailsync--configure-timer nil))

(defun mailsync--configuration-changed ()
  "Go over to the new configuration when all of it is set."
  (when (and mailsync-mode (not mailsync--configure-timer))
    (setq mailsync--configure-timer
          (run-at-time 0 nil (lambda ()
                               (setq mailsync--configure-timer nil)
                               (when mailsync-mode
                                 (mailsync-restart)))))))

(defun mailsync--start ()
  "Start the engine, and watch."
  (mailsync-module-load)
  (mailsync--once-clear)
  ;; One that runs a syncer of no account goes on doing that.
  (unless mailsync--running
    (mailsync--prepare))
  (mailsync--expect-discovery)
  (let* ((accounts (mailsync-accounts-read))
         (vector (mailsync-accounts-for-module accounts)))
    (setq mailsync--states (mapcar (lambda (account)
                                     (list (car account) 'starting))
                                   accounts))
    (mailsync-history-keep (mapcar #'car accounts))
    (mailsync-sync-keep vector)
    (setq mailsync--watching t)
    (if mailsync--pipe
        (mailsync-module--configure vector t)
      (mailsync--start-engine vector)))
  (mailsync--listen)
  (unless mailsync-accounts
    (mailsync-discover-begin))
  (mailsync-status-update)
  (if (featurep 'gnus)
      (mailsync--meet-gnus)
    (eval-after-load 'gnus #'mailsync--meet-gnus))
  (mailsync-log-add 'info "started: mailsync %s, Emacs %s"
                    mailsync-module--version-wanted emacs-version))

(defun mailsync--prepare ()
  "Forget what an earlier engine told."
  (setq mailsync--running (list t)
        mailsync--incoming (make-hash-table :test #'equal)
        mailsync--incoming-notices nil
        mailsync--taken nil
        mailsync--generation 0
        mailsync--breaks nil
        mailsync--states nil
        mailsync--troubles nil)
  (mailsync-remote-keep nil))

(defun mailsync--start-engine (accounts)
  "Start the engine with ACCOUNTS, as the module wants them."
  (mailsync--open-pipe
   (lambda (process generation)
     (mailsync-module--start process generation accounts
                             (mailsync--runtime-directory))))
  (add-hook 'suspend-hook #'mailsync--suspend)
  (add-hook 'suspend-resume-hook #'mailsync--continue)
  (add-hook 'kill-emacs-hook #'mailsync--farewell)
  (add-function :before command-error-function #'mailsync--quit))

(defun mailsync--runtime-directory ()
  "The directory of the user's session as the module wants it, or nil."
  (when-let ((runtime (getenv "XDG_RUNTIME_DIR")))
    (mailsync-pipe-encode runtime)))

(defun mailsync--listen ()
  "Have the engine listen as `mailsync-listen' says.
A mistake in it is reported, and stops nothing else."
  (mailsync--call #'mailsync-module--listen
                  (pcase (mailsync--listen-place)
                    ('wrong
                     (mailsync--once (list 'listen mailsync-listen) 'error
                                     "`mailsync-listen' is neither nil nor t \
nor the name of a file on this machine: %S" mailsync-listen)
                     nil)
                    (place place))
                  (mailsync--runtime-directory)
                  (float (mailsync-accounts--delay 'mailsync-check-timeout))))

(defun mailsync--listen-place ()
  "What `mailsync-listen' says, as the module wants it; `wrong' if it is wrong."
  (pcase mailsync-listen
    ('nil nil)
    ('t "")
    ((and (pred stringp)
          (guard (not (equal mailsync-listen "")))
          (guard (not (file-remote-p mailsync-listen))))
     (mailsync-pipe-encode (expand-file-name mailsync-listen)))
    (_ 'wrong)))

;; One that is stopped (\`C-z' in a terminal) would answer nobody, and not even say so.
(defun mailsync--suspend ()
  "Have programs that are told what was checked watch by themselves."
  (when (and mailsync-mode mailsync-listen)
    (let ((mailsync-listen nil))
      (mailsync--listen))))

(defun mailsync--continue ()
  "Have programs told again."
  (when (and mailsync-mode mailsync-listen)
    (mailsync--listen)))

(defun mailsync--start-alone ()
  "Start an engine that watches nothing, for a syncer that has no account."
  (mailsync-module-load)
  (mailsync--prepare)
  (condition-case err
      (mailsync--start-engine [])
    ((error quit)
     (mailsync--stop)
     (signal (car err) (cdr err)))))

(defun mailsync--farewell ()
  "Emacs ends: have syncers that run end, too."
  (when (fboundp 'mailsync-module--farewell)
    (mailsync-module--farewell)))

(defun mailsync--stop ()
  "Stop the engine; it ends by itself a moment later."
  (remove-hook 'kill-emacs-hook #'mailsync--farewell)
  (remove-function command-error-function #'mailsync--quit)
  (mailsync--cancel-reconfigure)
  (when (featurep 'mailsync-discover)
    (mailsync-discover-end))
  (setq mailsync-accounts--discovered nil)
  (when (fboundp 'mailsync-module--stop)
    (mailsync-module--stop))
  (setq mailsync--watching nil)
  (mailsync-pipe-close mailsync--pipe)
  (dolist (timer (list mailsync--timer mailsync--quit-timer mailsync--doubt-timer))
    (when (timerp timer)
      (cancel-timer timer)))
  (setq mailsync--running nil
        mailsync--pipe nil
        mailsync--timer nil
        mailsync--quit-timer nil
        mailsync--quit-batches nil
        mailsync--doubt-timer nil
        mailsync--incoming nil
        mailsync--incoming-notices nil
        mailsync--taken nil
        mailsync--requests nil
        mailsync--skipped nil
        mailsync--checking nil
        mailsync--states nil)
  (mailsync-remote-keep nil)
  (mailsync-history-cut-off)
  (clrhash mailsync--batches)
  (clrhash mailsync--unchecked)
  (when (featurep 'mailsync-gnus)
    (mailsync-gnus-teardown))
  ;; Last, since those who are told may start us anew.
  (mailsync-sync-forget "mailsync was stopped")
  (mailsync-status-update))

(defun mailsync--meet-gnus ()
  "Join Gnus if it is loaded and mailsync runs."
  (when (and mailsync-mode (featurep 'gnus))
    (require 'mailsync-gnus)
    (mailsync-gnus-setup)))

(provide 'mailsync)
;;; mailsync.el ends here
