;;; bench.el --- The Lisp side of `make bench'  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded into each Emacs that bench.py starts, and driven by it through the
;; Emacs server; while something is measured the server is silent.  What each
;; way of watching calls does as little as one can and still know afterwards
;; what was told and when: it puts one cons onto a list.

;;; Code:

(require 'server)
(require 'filenotify)

(defvar mailsync-accounts)
(defvar mailsync-changed-functions)
(defvar mailsync-coalesce-delay)
(defvar mailsync-started-functions)
(declare-function mailsync-mode "mailsync")

(defvar bench-told nil
  "What has been told, newest first: conses (TIME . NAME).")

(defvar bench-started nil
  "Non-nil once mailsync watches.")

(defvar bench-ticks nil
  "The timer that ticks every 5 ms, or nil.")

(defvar bench-last nil
  "When it ticked last.")

(defvar bench-gap 0
  "The longest time between two ticks, in seconds.")

(defun bench-server (directory)
  "Serve bench.py on the socket DIRECTORY/emacs/bench."
  (setq server-socket-dir (expand-file-name "emacs" directory)
        server-name "bench")
  (server-start))

;;;; What each way of watching calls

(defun bench-told (file)
  "FILE was delivered: what emacsclient has evaluated."
  (push (cons (time-convert nil t) file) bench-told)
  ;; The value would be printed.
  nil)

(defun bench-notified (event)
  "EVENT came from file-notify."
  (push (cons (time-convert nil t) (nth 2 event)) bench-told))

(defun bench-changed (_account changes)
  "CHANGES came from mailsync."
  (let ((now (time-convert nil t)))
    (dolist (change changes)
      (push (cons now (plist-get change :truename)) bench-told))))

;;;; The ways of watching

(defun bench-mailsync (maildir delay)
  "Watch MAILDIR by mailsync; DELAY is its coalesce delay, nil the default."
  (require 'mailsync)
  (when delay
    (setq mailsync-coalesce-delay delay))
  (setq mailsync-accounts `(("bench" :maildir ,maildir))
        mailsync-changed-functions '(bench-changed)
        mailsync-started-functions (list (lambda (_) (setq bench-started t))))
  (mailsync-mode 1)
  mailsync-coalesce-delay)

(defun bench-file-notify (directories)
  "Watch DIRECTORIES by file-notify."
  (dolist (directory directories)
    (file-notify-add-watch directory '(change) #'bench-notified)))

;;;; Measuring

(defun bench-tick ()
  "Note how long ago the last tick was."
  (let ((now (float-time)))
    (setq bench-gap (max bench-gap (- now bench-last))
          bench-last now)))

(defun bench-begin (ticks)
  "Forget what was told; with TICKS non-nil, look for gaps from now on."
  (garbage-collect)
  (setq bench-told nil
        bench-gap 0
        bench-last (float-time))
  (when ticks
    (setq bench-ticks (run-at-time 0.005 0.005 #'bench-tick)))
  nil)

(defun bench-busy (fifo)
  "From a clean stack, run a program until FIFO ends: nothing else happens."
  (run-at-time 0 nil
               (lambda ()
                 (call-process "cat" nil nil nil fifo)
                 ;; The time of the program itself is nobody's fault.
                 (setq bench-last (float-time)
                       bench-gap 0)))
  nil)

(defun bench-end (file)
  "Write what was told, oldest first, into FILE; return the longest gap."
  (when bench-ticks
    (cancel-timer bench-ticks)
    (setq bench-ticks nil))
  (with-temp-file file
    (set-buffer-file-coding-system 'utf-8-unix)
    (pcase-dolist (`((,ticks . ,hz) . ,name) (reverse bench-told))
      (insert (format "%d %s\n" (/ (* ticks 1000000000) hz) name))))
  bench-gap)

(provide 'bench)
;;; bench.el ends here
