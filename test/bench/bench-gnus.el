;;; bench-gnus.el --- The Lisp side of gnus.py  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded after bench.el into an Emacs with a real Gnus.  When nobody types,
;; an Emacs does its work in timers and in process filters.  Each of these,
;; mailsync's or Gnus's, is timed from beginning to end, waiting included.
;; Gnus's commands are called from a timer, too, so that each way of looking
;; for mail is measured alike.

;;; Code:

(require 'cl-lib)
(require 'gnus)
(require 'gnus-group)
(require 'gnus-start)
(require 'nnimap)
(require 'nnmaildir)
(require 'bench)

(defvar gnus-group-marked)
(defvar mailsync-check-function)
(defvar mailsync-gnus--timer)
(defvar mailsync-gnus-catch-up-delay)
(declare-function fixture-configure "gnus-init")
(declare-function fixture-start "gnus-init")
(declare-function mailsync-check-by-gnus "mailsync")
(declare-function mailsync-gnus--arm "mailsync-gnus")
(declare-function mailsync-gnus-status "mailsync-gnus")

(defvar bench-gnus-runs nil
  "What ran, newest first: lists of seconds (START WALL CPU).")

(defvar bench-gnus-running nil
  "Non-nil while something is being timed.")

(defvar bench-gnus-opened nil
  "Seconds that it took to open connections, newest first.")

(defvar bench-gnus-collected nil
  "Garbage collections, newest first: conses (END . ELAPSED).
ELAPSED is `gc-elapsed' before it: that is counted after the hook.")

(defvar bench-gnus-state nil
  "`started' once Gnus has, a string if it failed.")

;;;; Timing

(defun bench-gnus-time (function &rest args)
  "Call FUNCTION with ARGS and note how long that took."
  (if bench-gnus-running
      (apply function args)
    (let ((bench-gnus-running t)
          (start (float-time))
          (cpu (get-internal-run-time)))
      (unwind-protect
          (apply function args)
        (push (list start
                    (- (float-time) start)
                    (float-time (time-subtract (get-internal-run-time) cpu)))
              bench-gnus-runs)))))

(defun bench-gnus-time-timer (function timer)
  "Call FUNCTION with TIMER and note how long that took, unless it is ours."
  (if (eq (timer--function timer) #'bench-tick)
      (funcall function timer)
    (bench-gnus-time function timer)))

(defun bench-gnus-collected ()
  "Garbage was collected."
  (push (cons (float-time) gc-elapsed) bench-gnus-collected))

(defun bench-gnus-time-opening (function &rest args)
  "Call FUNCTION with ARGS and note how long opening a connection took."
  (let ((start (float-time)))
    (prog1 (apply function args)
      (push (- (float-time) start) bench-gnus-opened))))

;; The command loop calls it for each timer.
(advice-add 'timer-event-handler :around #'bench-gnus-time-timer)
;; The filters of mailsync.  nnimap has none: its answers go to a buffer.
(advice-add 'mailsync-pipe--filter :around #'bench-gnus-time)
(advice-add 'mailsync-gnus--imap-look :around #'bench-gnus-time)
(advice-add 'nnimap-open-connection :around #'bench-gnus-time-opening)
(add-hook 'post-gc-hook #'bench-gnus-collected)

(defun bench-gnus-begin (ticks)
  "Forget what was; with TICKS non-nil, look for gaps from now on.
Without them garbage is collected when Emacs sees fit, as it is for a user."
  (when ticks
    ;; The ticks make garbage of their own.
    (garbage-collect)
    (setq bench-last (float-time)
          bench-ticks (run-at-time 0.005 0.005 #'bench-tick)))
  (setq bench-told nil
        bench-gnus-runs nil
        bench-gnus-collected nil
        bench-gap 0)
  nil)

(defun bench-gnus-end (start end)
  "What ran between START and END, times in seconds; in ms.
A list: the time of all runs together, the longest of them, what of all was
spent on a CPU, all garbage collections in that time, and the longest gap
between two ticks."
  (when bench-ticks
    (cancel-timer bench-ticks)
    (setq bench-ticks nil))
  (let* ((runs (cl-remove-if-not (lambda (run) (<= start (car run) end))
                                 bench-gnus-runs))
         (walls (mapcar #'cadr runs))
         (after gc-elapsed)
         (collecting 0))
    (pcase-dolist (`(,at . ,before) bench-gnus-collected)
      (when (<= start at end)
        (cl-incf collecting (- after before)))
      (setq after before))
    (mapcar (lambda (seconds) (* 1e3 seconds))
            (list (apply #'+ walls)
                  (apply #'max 0 walls)
                  (apply #'+ (mapcar #'caddr runs))
                  collecting
                  bench-gap))))

(defun bench-gnus-settled-p ()
  "Non-nil if no folder waits for its check."
  (zerop (plist-get (mailsync-gnus-status) :pending)))

;;;; Gnus

(defun bench-gnus-later (function &rest args)
  "Call FUNCTION with ARGS in half a second, when this answer is long given."
  (apply #'run-at-time 0.5 nil function args)
  nil)

(defun bench-gnus-start (fixture home nnmaildir port groups)
  "Start Gnus with FIXTURE's definitions, below HOME, subscribed to GROUPS.
NNMAILDIR is a server directory, PORT one of IMAP, or nil."
  (bench-gnus-later
   (lambda ()
     (setq bench-gnus-state
           (condition-case err
               (progn
                 (load fixture nil t)
                 (fixture-configure home nil nnmaildir port)
                 ;; In Emacs 28 nnmaildir would wait for the disk with
                 ;; each message that it indexes.
                 (let ((write-region-inhibit-fsync t))
                   (apply #'fixture-start groups))
                 (switch-to-buffer gnus-group-buffer)
                 (delete-other-windows)
                 'started)
             (error (error-message-string err)))))))

(defun bench-gnus-unread (groups)
  "The numbers of unread messages of GROUPS."
  (mapcar (lambda (group) (gnus-group-unread group)) groups))

(defun bench-gnus-command (groups)
  "Look for mail in GROUPS by Gnus's command for that."
  (with-current-buffer gnus-group-buffer
    (let ((mark-active nil)
          (gnus-group-marked groups))
      (gnus-group-get-new-news-this-group))))

(defun bench-gnus-all (_groups)
  "Look for mail in all groups."
  (with-current-buffer gnus-group-buffer
    (gnus-group-get-new-news)))

;;;; mailsync

(defun bench-gnus-checks (flag)
  "Let mailsync check the groups of changed folders, or not if FLAG is nil.
It tells of changes all the same."
  (setq mailsync-check-function
        (if flag #'mailsync-check-by-gnus
          (lambda (_account changes done)
            (funcall done (mapcar (lambda (change)
                                    (cons (plist-get change :folder) 'no-group))
                                  changes)))))
  nil)

(defun bench-gnus-catch-up (seconds)
  "Have what remains to be looked at in full looked at after idle SECONDS."
  (setq mailsync-gnus-catch-up-delay seconds)
  (mailsync-gnus--arm)
  nil)

(provide 'bench-gnus)
;;; bench-gnus.el ends here
