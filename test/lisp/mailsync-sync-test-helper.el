;;; mailsync-sync-test-helper.el --- An account with a syncer, for tests  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The engine runs real programs in these tests, small shell scripts that write
;; down what they were called with.

;;; Code:

(require 'mailsync-test-helper)

(defvar sync-test-said nil
  "What `message' was asked to say for mailsync, newest first.")

(defvar sync-test-events nil
  "What the hooks were told, newest first.")

(defun sync-test-note (kind)
  "A function that notes that a hook of KIND was called."
  (lambda (account what)
    (push (list kind account what) sync-test-events)))

(defun sync-test-script (root text)
  "Make a program below ROOT that runs TEXT by sh, with its calls in `calls'.
Return its name."
  (let ((name (expand-file-name "syncer" root)))
    (with-temp-file name
      (insert "#!/bin/sh\n"
              ;; In one go: two of them may do it at the same time.
              "echo \"run$(printf ' <%s>' \"$@\")\" >> "
              (shell-quote-argument (expand-file-name "calls" root)) "\n"
              "cd " (shell-quote-argument root) "\n"
              text "\n"))
    (set-file-modes name #o755)
    name))

(defun sync-test-calls (root)
  "The calls of the program below ROOT so far, oldest first."
  (let ((file (expand-file-name "calls" root)))
    (and (file-exists-p file)
         (with-temp-buffer
           (insert-file-contents file)
           (split-string (buffer-string) "\n" t)))))

(defmacro sync-test-with (script syncer &rest body)
  "Run BODY with an account \"w\" whose `:syncer' is SYNCER.
There, and in BODY, `program' is a program that runs SCRIPT, in `root', where
the account's maildir is `mail'.  Delays are short."
  (declare (indent 2))
  `(let* ((root (file-truename (make-temp-file "mailsync-sync" t)))
          (mail (expand-file-name "mail" root))
          (program (sync-test-script root ,script))
          (test-changes nil)
          (sync-test-events nil)
          (sync-test-said nil)
          (mailsync-coalesce-delay 0.02)
          (mailsync-base-delay 0.1)
          (mailsync-inter-delay 0.1)
          (mailsync-sync-at-start nil)
          (mailsync-changed-functions (list #'test-note-changes))
          (mailsync-before-sync-functions (list (sync-test-note 'before)))
          (mailsync-after-sync-functions (list (sync-test-note 'after)))
          (mailsync-accounts (list (list "w" :maildir mail :syncer ,syncer))))
     (test-maildir mail)
     (test-maildir (expand-file-name ".a" mail))
     (test-maildir (expand-file-name ".b c" mail))
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (cl-letf* ((said (symbol-function 'message))
                ((symbol-function 'message)
                 (lambda (format &rest args)
                   (when format
                     (push (apply #'format format args) sync-test-said))
                   (apply said format args))))
       (unwind-protect
           (progn
             (mailsync-mode 1)
             (test-watching "w")
             ,@body)
         (mailsync-mode -1)
         (test-wait (lambda () (zerop (mailsync-module--threads))))
         (delete-directory root t)))))

(defun sync-test-results (&optional account)
  "The results of syncs of ACCOUNT (\"w\" by default), oldest first."
  (nreverse
   (mapcar #'caddr
           (seq-filter (lambda (event)
                         (and (eq (car event) 'after)
                              (equal (cadr event) (or account "w"))))
                       sync-test-events))))

(defun sync-test-wait (count)
  "Wait for COUNT results of account \"w\"; return the last one."
  (test-wait (lambda () (>= (length (sync-test-results)) count)))
  (car (last (sync-test-results))))

(defun sync-test-logged (regexp)
  "How many lines of the log match REGEXP."
  (seq-count (lambda (line) (string-match-p regexp line))
             (split-string (test-log) "\n")))

(defun sync-test-phase ()
  "What the syncs of account \"w\" are doing."
  (plist-get (mailsync-sync-state "w") :phase))

(provide 'mailsync-sync-test-helper)
;;; mailsync-sync-test-helper.el ends here
