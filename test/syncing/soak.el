;;; soak.el --- More of the Emacs of a soak  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by sync.el, as soak.py says: a Gnus with three servers, and what the script wants to
;; know about the memory of this Emacs.

;;; Code:

(require 'seq)
(declare-function e2e-say "../e2e/lib")
(declare-function fixture-configure "gnus-init")
(declare-function fixture-start "gnus-init")
(declare-function gnus-group-get-new-news "gnus-group")
(declare-function gnus-remove-denial "gnus-int")
(declare-function gnus-server-status "gnus")
(declare-function gnus-server-to-method "gnus")
(declare-function mailsync-module--status "mailsync-module")
(declare-function mailsync-sync-state "mailsync-sync")
(declare-function sync-act "sync")
(defvar auth-sources)
(defvar gnus-group-buffer)
(defvar gnus-group-mode-map)
(defvar gnus-secondary-select-methods)
(defvar sync-server)
(defvar e2e-work)

(defun soak-gnus (links other port authinfo &rest groups)
  "Start a Gnus that reads GROUPS of three servers.
Two are the maildirs to which the directories LINKS and OTHER link,
one is the IMAP server at PORT; AUTHINFO has the passwords."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  ;; Emacs notes there which certificate it was told to trust.
  (make-directory user-emacs-directory t)
  (fixture-configure (concat e2e-work "gnus") "fix" links port)
  (push `(nnmaildir "other" (directory ,other) (get-new-mail nil))
        gnus-secondary-select-methods)
  (setq auth-sources (list authinfo))
  (apply #'fixture-start groups)
  ;; A key too many shall not end it.
  (define-key gnus-group-mode-map "q" #'ignore)
  (e2e-say "gnus")
  (switch-to-buffer "*Group*"))

(defun soak-act (server group which action to)
  "In GROUP of SERVER, do ACTION with the message WHICH.
The rest, and TO, as `sync-act' has it.  What Gnus refuses is said."
  (let ((sync-server server))
    (if (not (string-prefix-p "nnimap" server))
        (sync-act group which action to)
      (let ((method (gnus-server-to-method "nnimap:fix")))
        ;; As its user would tell Gnus.
        (when (eq (gnus-server-status method) 'denied)
          (e2e-say "denied")
          (gnus-remove-denial method)))
      ;; Its connection may just be ending.
      (condition-case err
          (sync-act group which action to)
        (error (e2e-say "acted" "refused" (error-message-string err))))))
  (switch-to-buffer "*Group*"))

(defun soak-news ()
  "Have Gnus look at everything, as without mailsync."
  (with-demoted-errors "Gnus: %S"
    (with-current-buffer gnus-group-buffer
      (gnus-group-get-new-news))))

(defun soak-rests-p ()
  "Whether mailsync has nothing to do."
  (let ((status (mailsync-module--status)))
    (and status
         (not (plist-get status :in-flight))
         (not (plist-get status :dead))
         (seq-every-p
          (lambda (account)
            (and (eql (plist-get account :pending) 0)
                 (eq (plist-get account :state) 'watching)
                 (memq (plist-get (mailsync-sync-state (plist-get account :name)) :phase)
                       '(nil idle))
                 (seq-every-p (lambda (remote) (eq (plist-get remote :state) 'connected))
                              (plist-get account :remotes))))
          (plist-get status :accounts)))))

(defun soak--size (value)
  "How many things VALUE holds, if it is a table or a list."
  (cond ((hash-table-p value) (hash-table-count value))
        ((proper-list-p value))
        ((vectorp value) (length value))
        (t 0)))

(defun soak--timer-name (timer)
  "What TIMER does, in a word or two."
  (let ((function (timer--function timer)))
    (if (symbolp function)
        (symbol-name function)
      ;; A compiled one has anything in it.
      (replace-regexp-in-string "[^ -~]" "?" (truncate-string-to-width (format "%S" function) 100)))))

(defun soak-tables (file)
  "Write to FILE what each variable of mailsync holds, and return the sum.
The buffers, with their sizes, the processes and the timers are written
there, too, and what else in Emacs is large."
  (let ((sum 0)
        (lines (append
                (mapcar (lambda (buffer)
                          (format "buffer %s\t%d\n" (buffer-name buffer) (buffer-size buffer)))
                        (buffer-list))
                (mapcar (lambda (process)
                          (format "process %s\t1\n" (process-name process)))
                        (process-list))
                (mapcar (lambda (timer)
                          (format "timer %s\t1\n" (soak--timer-name timer)))
                        timer-list))))
    (mapatoms
     (lambda (symbol)
       (when (boundp symbol)
         (let ((size (soak--size (symbol-value symbol)))
               (ours (string-prefix-p "mailsync-" (symbol-name symbol))))
           (when ours (setq sum (+ sum size)))
           (when (> size (if ours 0 1000))
             (push (format "%s\t%d\n" symbol size) lines))))))
    (write-region (apply #'concat (sort lines #'string<)) nil file nil 'silent)
    sum))

(defun soak-sample ()
  "Say how much there is of what Emacs holds."
  (let* ((counts (garbage-collect))
         ;; Each is (TYPE SIZE USED FREE), strings and vectors with what is in them apart.
         (bytes (apply #'+ (mapcar (lambda (count) (* (nth 1 count) (nth 2 count)))
                                   (assq-delete-all 'heap (copy-sequence counts)))))
         (status (mailsync-module--status)))
    (e2e-say "sample" bytes (length (buffer-list)) (length (process-list)) (length timer-list)
             (apply #'+ (mapcar #'buffer-size (buffer-list)))
             (soak-tables (concat e2e-work "tables"))
             (or (plist-get status :held) 0)
             (mapconcat (lambda (count) (format "%s:%d" (car count) (* (nth 1 count) (nth 2 count))))
                        counts " "))))

(provide 'soak)
;;; soak.el ends here
