;;; bench-discovery.el --- The Lisp side of the benchmark of discovery  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded into the batch Emacs of discovery.py, which reads what is printed.

;;; Code:

(declare-function mailsync--start-alone "mailsync-life")
(declare-function mailsync--stop "mailsync-life")
(declare-function mailsync-discover "mailsync-discover")
(declare-function mailsync-discover-account "mailsync-discover")

(defun bench-discovery (times)
  "Discover so many TIMES; print how many ms asking and all of it took each time.
How much CPU time that was on average, with all threads, is printed last."
  (require 'mailsync-life)
  (require 'mailsync-discover)
  (mailsync--start-alone)
  (bench-discovery--times 1)
  (let ((before (float-time (get-internal-run-time))))
    (bench-discovery--times times)
    (princ (format "cpu %.3f\n" (/ (* 1000 (- (float-time (get-internal-run-time)) before))
                                   times))))
  (mailsync--stop))

(defun bench-discovery--times (times)
  "Discover so many TIMES."
  (dotimes (_ times)
    (let ((began (float-time)) accounts asked)
      (mailsync-discover "bench" (lambda (found)
                                   (setq accounts (mapcar #'mailsync-discover-account
                                                          (car found)))))
      (setq asked (float-time))
      (while (not accounts)
        (accept-process-output nil 1))
      (princ (format "took %.3f %.3f %d\n" (* 1000 (- asked began))
                     (* 1000 (- (float-time) began)) (length accounts))))))

(provide 'bench-discovery)
;;; bench-discovery.el ends here
