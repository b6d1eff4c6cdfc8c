;;; bench-watching.el --- The Lisp side of the benchmark of many folders  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded after bench.el into each Emacs of watching.py.  What is timed is
;; called from a timer, when the server has been silent for a while, so that
;; the main thread's CPU time before and after can be read from outside.

;;; Code:

(require 'filenotify)

(defvar mailsync-accounts)
(defvar mailsync-changed-functions)
(defvar mailsync-coalesce-delay)
(defvar mailsync-started-functions)
(declare-function bench-changed "bench")
(declare-function bench-notified "bench")
(declare-function mailsync-module-load "mailsync-module")

(defvar bench-watching-began nil
  "When the call began.")

(defvar bench-watching-took nil
  "How long the call took, in seconds.")

(defvar bench-watching-watched nil
  "How long it took until everything was watched, in seconds.")

(defun bench-watching-since ()
  "Seconds since the call began."
  (float-time (time-subtract (time-convert nil t) bench-watching-began)))

(defun bench-watching-call (function &rest args)
  "Call FUNCTION with ARGS in half a second, and note how long it takes."
  (setq bench-watching-took nil
        bench-watching-watched nil)
  ;; That of another would be in it by chance.
  (garbage-collect)
  (run-at-time 0.5 nil
               (lambda ()
                 (setq bench-watching-began (time-convert nil t))
                 (apply function args)
                 (setq bench-watching-took (bench-watching-since))))
  nil)

(defun bench-watching-mailsync (maildir delay)
  "Load mailsync and configure it for MAILDIR, but do not turn it on.
DELAY is its coalesce delay, nil the default."
  (require 'mailsync-life)
  (mailsync-module-load)
  (when delay
    (setq mailsync-coalesce-delay delay))
  (setq mailsync-accounts `(("bench" :maildir ,maildir))
        mailsync-changed-functions '(bench-changed)
        mailsync-started-functions
        (list (lambda (_) (setq bench-watching-watched (bench-watching-since)))))
  nil)

(defun bench-watching-each (function maildir count)
  "Call FUNCTION with new and cur of the COUNT folders of MAILDIR."
  (dotimes (number count)
    (let ((folder (format "%s/.folder%05d/" maildir number)))
      (funcall function (concat folder "new"))
      (funcall function (concat folder "cur")))))

(defun bench-watching-file-notify (maildir count)
  "Watch the COUNT folders of MAILDIR by file-notify."
  (bench-watching-each
   (lambda (directory)
     (file-notify-add-watch directory '(change) #'bench-notified))
   maildir count)
  (setq bench-watching-watched (bench-watching-since)))

(defun bench-watching-look (maildir count)
  "Look when the COUNT folders of MAILDIR changed."
  (bench-watching-each #'file-attributes maildir count))

(provide 'bench-watching)
;;; bench-watching.el ends here
