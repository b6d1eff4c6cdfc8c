;;; bench-status.el --- The Lisp side of status.py  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Each function begins something from a timer, as a key would, and puts into
;; `bench-status-took' how many milliseconds it took until all of it was there.

;;; Code:

(require 'bench)
(require 'tabulated-list)

(defvar mailsync--unchecked)
(defvar mailsync-folders--news)
(defvar mailsync-folders--rows)
(defvar mailsync-folders--work)
(declare-function mailsync-folders "mailsync-folders" (&optional account))
(declare-function mailsync-folders-refresh-soon "mailsync-folders"
                  (&optional seconds))
(declare-function mailsync-status "mailsync-status" ())

(defvar bench-status-took nil
  "Milliseconds that the last thing took, or nil as long as it goes on.")

(defvar bench-status-call nil
  "Milliseconds that the call took which began it.")

(defun bench-status--time (begin done)
  "Call BEGIN from a timer, and note when DONE returns non-nil."
  (setq bench-status-took nil)
  (run-at-time
   0 nil
   (lambda ()
     (let ((start (float-time)))
       (funcall begin)
       (redisplay)
       (setq bench-status-call (* 1000 (- (float-time) start)))
       (bench-status--look start done))))
  nil)

(defun bench-status--look (start done)
  "What was begun at START is over when DONE returns non-nil: look soon again."
  (if (funcall done)
      (progn
        (redisplay)
        (setq bench-status-took (* 1000 (- (float-time) start))))
    (run-at-time 0.001 nil #'bench-status--look start done)))

(defun bench-status-open ()
  "Show the status."
  (bench-status--time #'mailsync-status #'always))

(defun bench-status--forget ()
  "Kill the list of folders."
  (when (get-buffer "*mailsync-folders*")
    (kill-buffer "*mailsync-folders*")))

(defun bench-status-folders (count)
  "Show the list of folders, which has COUNT rows."
  (bench-status--forget)
  (delete-other-windows)
  (bench-status--time
   #'mailsync-folders
   (lambda ()
     (with-current-buffer "*mailsync-folders*"
       (and mailsync-folders--rows
            (= count (count-lines (point-min) (point-max))))))))

(defun bench-status-change-all ()
  "Have each row of the list say something else."
  (bench-status--time
   (lambda ()
     (with-current-buffer "*mailsync-folders*"
       (maphash (lambda (key _)
                  (if (gethash key mailsync--unchecked)
                      (remhash key mailsync--unchecked)
                    (puthash key 1 mailsync--unchecked))
                  (puthash key t mailsync-folders--news))
                mailsync-folders--rows))
     (mailsync-folders-refresh-soon 0))
   (lambda ()
     (and (zerop (hash-table-count mailsync-folders--news))
          (with-current-buffer "*mailsync-folders*"
            (not mailsync-folders--work))))))

(defun bench-status-plain (count)
  "Show COUNT rows of as many columns by Emacs's own printer."
  (let ((entries (mapcar (lambda (number)
                           (list (cons "bench" (format "folder%05d" number))
                                 (vector (format "folder%05d" number) "bench" ""
                                         "" "" "" "" "")))
                         (number-sequence 1 count))))
    (delete-other-windows)
    (bench-status--time
     (lambda ()
       (with-current-buffer (get-buffer-create "*plain*")
         (tabulated-list-mode)
         (setq tabulated-list-format
               [("Folder" 20 t) ("Account" 8 t) ("Waits for" 10 t)
                ("Changed" 8 t) ("What" 12 t) ("Checked" 8 t) ("Synced" 8 t)
                ("Groups" 6 t)]
               tabulated-list-entries entries)
         (tabulated-list-init-header)
         (tabulated-list-print)
         (pop-to-buffer (current-buffer))))
     #'always)))

(provide 'bench-status)
;;; bench-status.el ends here
