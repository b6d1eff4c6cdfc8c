;;; bench-far.el --- The Lisp side of far.py  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded after bench.el into an Emacs with a real Gnus.  Whoever changes the
;; *Group* buffer, it is looked at then, and the time is noted at which the line
;; of a group shows the count that is waited for.  Nobody asks Emacs meanwhile.

;;; Code:

(require 'gnus)
(require 'gnus-group)
(require 'gnus-start)
(require 'nnmaildir)
(require 'bench)

(defvar gnus-group-marked)
(defvar mailsync-accounts)
(defvar mailsync-base-delay)
(defvar mailsync-coalesce-delay)
(defvar mailsync-inter-delay)
(defvar mailsync-remote--states)
(declare-function fixture-configure "gnus-init")
(declare-function fixture-line "gnus-init")
(declare-function fixture-start "gnus-init")
(declare-function fixture-unread "gnus-init")
(declare-function mailsync-mode "mailsync")
(declare-function mailsync-sync-state "mailsync-sync")

(defvar bench-far-state nil
  "`started' once Gnus has, a string if it failed.")

(defvar bench-far-wanted nil
  "What is waited for: lists (GROUP COUNT FILE).")

(defun bench-far-look (&rest _)
  "See whether *Group* shows what is waited for, and write down when it did."
  (let ((now (time-convert nil t)))
    (pcase-dolist ((and entry `(,group ,count ,file)) bench-far-wanted)
      (let ((line (fixture-line group)))
        (when (and line (string-match (format "\\b%d: " count) line))
          (setq bench-far-wanted (delq entry bench-far-wanted))
          (write-region (number-to-string (/ (* (car now) 1000000000) (cdr now)))
                        nil (concat file ".tmp") nil 'silent)
          (rename-file (concat file ".tmp") file))))))

(defun bench-far-expect (group file)
  "Wait for one more unread message of GROUP; FILE gets the time."
  (push (list group (1+ (fixture-unread group)) file) bench-far-wanted)
  nil)

(defun bench-far-start (fixture home nnmaildir groups)
  "Start Gnus with FIXTURE's definitions, below HOME, subscribed to GROUPS.
NNMAILDIR is a server directory."
  ;; When this answer is long given.
  (run-at-time
   0.2 nil
   (lambda ()
     (setq bench-far-state
           (condition-case err
               (progn
                 (load fixture nil t)
                 (fixture-configure home nil nnmaildir)
                 (let ((write-region-inhibit-fsync t))
                   (apply #'fixture-start groups))
                 (switch-to-buffer gnus-group-buffer)
                 (delete-other-windows)
                 (add-hook 'after-change-functions #'bench-far-look nil t)
                 'started)
             (error (error-message-string err))))))
  nil)

;;;; What the chain and the timer call

(defun bench-far-command (&rest groups)
  "Look for mail in GROUPS by Gnus's command for that."
  (with-current-buffer gnus-group-buffer
    (let ((mark-active nil)
          (gnus-group-marked groups))
      (gnus-group-get-new-news-this-group)))
  nil)

(defun bench-far-all ()
  "Look for mail in all groups."
  (with-current-buffer gnus-group-buffer
    (gnus-group-get-new-news))
  nil)

;;;; mailsync

(defun bench-far-mailsync (maildir syncer remote delay)
  "Sync MAILDIR by SYNCER, and hear of REMOTE.
DELAY is the coalesce delay, and the delays of syncs are zero; nil: all are
the defaults."
  (require 'mailsync)
  (when delay
    (setq mailsync-coalesce-delay delay
          mailsync-base-delay 0
          mailsync-inter-delay 0))
  (setq mailsync-accounts
        `(("far" :maildir ,maildir :syncer ,syncer :remote ,remote)))
  (mailsync-mode 1)
  nil)

(defun bench-far-ready-p ()
  "Non-nil if the server is watched and nothing waits to be synced."
  (let ((state (mailsync-sync-state "far")))
    (and (seq-every-p (lambda (entry)
                        (eq (plist-get (cdr entry) :state) 'connected))
                      mailsync-remote--states)
         mailsync-remote--states
         (eq (plist-get state :phase) 'idle)
         (memq (plist-get state :pending) '(0 nil))
         t)))

(provide 'bench-far)
;;; bench-far.el ends here
