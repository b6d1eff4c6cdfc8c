;;; bench-discovery.el --- The Lisp side of the benchmark of discovery  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded into the batch Emacs of discovery.py, which reads what is printed.

;;; Code:

(declare-function mailsync--start-alone "mailsync")
(declare-function mailsync--stop "mailsync")
(declare-function mailsync-discover "mailsync-discover")
(declare-function mailsync-discover-account "mailsync-discover")

(defun bench-discovery (times)
  "Discover so many TIMES; print how many ms asking and all of it took each time."
  (require 'mailsync)
  (require 'mailsync-discover)
  (mailsync--start-alone)
  (dotimes (_ times)
    (let ((began (float-time)) accounts asked)
      (mailsync-discover "bench" (lambda (found)
                                   (setq accounts (mapcar #'mailsync-discover-account
                                                          (car found)))))
      (setq asked (float-time))
      (while (not accounts)
        (accept-process-output nil 1))
      (princ (format "took %.3f %.3f %d\n" (* 1000 (- asked began))
                     (* 1000 (- (float-time) began)) (length accounts)))))
  (mailsync--stop))

(provide 'bench-discovery)
;;; bench-discovery.el ends here
