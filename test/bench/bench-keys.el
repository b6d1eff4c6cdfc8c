;;; bench-keys.el --- The Lisp side of keys.py  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded after bench-gnus.el into an Emacs with a real Gnus.  It notes when
;; each key that is typed has been drawn, and when counts change; while
;; something is measured nobody talks to this Emacs otherwise.

;;; Code:

(require 'cl-lib)
(require 'filenotify)
(require 'gnus)
(require 'gnus-demon)
(require 'gnus-group)
(require 'bench)
(require 'bench-gnus)

(defvar gnus-group-marked)

(defvar bench-keys-drawn nil
  "When each key was drawn, newest first.")

(defvar bench-keys-counts nil
  "Which counts changed when, newest first: lists (TIME GROUP COUNT).")

(defvar bench-keys-last nil
  "Alist from group to its count.")

(defvar bench-keys-collected nil
  "`gcs-done' and `gc-elapsed' when it began, a cons.")

(defvar bench-keys-expected nil
  "`bench-keys-last' when all is right.")

(defvar bench-keys-timer nil
  "The timer that looks at the counts.")

(defun bench-keys-drawn ()
  "A key was handled: draw, and note when that was done."
  (redisplay)
  (push (float-time) bench-keys-drawn))

(defun bench-keys-look (file)
  "Note which counts have changed; make FILE once all are right."
  (let ((now (float-time)))
    (dolist (entry bench-keys-last)
      (let ((count (gnus-group-unread (car entry))))
        (unless (eql count (cdr entry))
          (setcdr entry count)
          (push (list now (car entry) count) bench-keys-counts)
          (when (equal bench-keys-last bench-keys-expected)
            (write-region "" nil file nil 'silent)))))))

(defun bench-keys-begin (groups increase file)
  "Show a buffer to type in, and note from now on what happens.
GROUPS are those of which the counts are of interest: when each
has risen by INCREASE, FILE is made.  Return the counts."
  (switch-to-buffer (get-buffer-create "typed"))
  (delete-other-windows)
  (text-mode)
  (erase-buffer)
  (setq bench-keys-drawn nil
        bench-keys-counts nil
        bench-keys-last (mapcar (lambda (group)
                                    (cons group (gnus-group-unread group)))
                                  groups)
        bench-keys-expected (mapcar (lambda (entry)
                                        (cons (car entry)
                                              (+ increase (cdr entry))))
                                      bench-keys-last)
        bench-keys-timer (run-at-time 0.2 0.2 #'bench-keys-look file)
        bench-keys-collected (cons gcs-done gc-elapsed))
  (add-hook 'post-command-hook #'bench-keys-drawn nil t)
  (mapcar #'cdr bench-keys-last))

(defun bench-keys-end (noted typed)
  "Write what was noted, oldest first, into the file NOTED.
What was typed goes into the file TYPED."
  (cancel-timer bench-keys-timer)
  (let ((collected (list (- gcs-done (car bench-keys-collected))
                         (- gc-elapsed (cdr bench-keys-collected)))))
    (with-current-buffer "typed"
      (remove-hook 'post-command-hook #'bench-keys-drawn t)
      (write-region nil nil typed nil 'silent))
    (with-temp-file noted
      (dolist (time (reverse bench-keys-drawn))
        (insert (format "drawn %.6f\n" time)))
      (pcase-dolist (`(,time ,group ,count) (reverse bench-keys-counts))
        (insert (format "count %.6f %d %d\n" time
                        (cl-position group bench-keys-last
                                     :key #'car :test #'equal)
                        count)))
      (insert (apply #'format "collected %d %.6f\n" collected))))
  nil)

;;;; The alternatives

(defun bench-keys-demon ()
  "Have gnus-demon look for news each minute."
  (setq gnus-demon-timestep 60)
  (gnus-demon-add-handler #'gnus-demon-scan-news 1 nil)
  (gnus-demon-init)
  nil)

(defun bench-keys-watch (directories)
  "Call Gnus's command for a group when a message has come.
DIRECTORIES is an alist from directory to group."
  (pcase-dolist (`(,directory . ,group) directories)
    (file-notify-add-watch
     directory '(change)
     (lambda (event)
       ;; Not when Gnus moves it on.
       (when (memq (nth 1 event) '(created renamed))
         (ignore-errors (bench-gnus-command (list group)))))))
  nil)

(provide 'bench-keys)
;;; bench-keys.el ends here
