;;; mailsync-folders.el --- The list of all folders  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer that `mailsync-folders' shows, and when it is brought up to date:
;; soon after there is news, while a window shows it.  What its rows say is in
;; mailsync-folders-rows.el, how they are written in mailsync-folders-draw.el,
;; what it has in common with the list of the last changes in mailsync-list.el.
;; That one, of mailsync-history-list.el, is brought up to date here, too.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'tabulated-list)
(require 'mailsync-folders-draw)
(require 'mailsync-folders-rows)
(require 'mailsync-history)
(require 'mailsync-list)
(require 'mailsync-log)

;;;; Internal variables

(defconst mailsync-folders--buffer "*mailsync-folders*"
  "Name of the buffer that `mailsync-folders' shows.")

(defconst mailsync-folders--history "*mailsync-history*"
  "Name of the buffer that `mailsync-history' shows.")

(defconst mailsync-folders--few 100
  "Of so many rows or fewer each is written in its place.")

(defvar mailsync-folders--timer nil
  "The timer that brings the buffers up to date, or nil.")

(defvar mailsync-folders--stale nil
  "Non-nil if there was news while no window showed the list of folders.")

;;;; Declarations

(defvar mailsync-mode)
(declare-function mailsync--account-names "mailsync-accounts")
(declare-function mailsync-history-list--fill "mailsync-history-list" ())

;;;; The list

(defvar mailsync-folders-mode-map
  (make-composed-keymap nil mailsync-list-mode-map)
  "Keymap of the list of folders.")

(define-derived-mode mailsync-folders-mode mailsync-list-mode "Mailsync-Folders"
  "Major mode of the list of the folders that mailsync watches.
\\<mailsync-folders-mode-map>\\[mailsync-list-sort] sorts by the column at \
point, \\[revert-buffer] asks the engine anew.

\\{mailsync-folders-mode-map}"
  ;; The engine has an order.
  (setq tabulated-list-sort-key nil)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-folders--ask))))

(defun mailsync-folders--by (place)
  "A predicate for entries of the list, by the times at PLACE of their columns."
  ;; The last one first.
  (lambda (one other)
    (> (aref (cadr one) place) (aref (cadr other) place))))

(defun mailsync-folders--format ()
  "The columns of the list, for the window that shows it."
  (vector (list "Folder" (mailsync-list--wide 63) t)
          (list "Account" 8 t)
          (list "Waits for" 10
                (lambda (one other)
                  (string> (aref (cadr one) 2) (aref (cadr other) 2))))
          (list "Changed" 8 (mailsync-folders--by 8))
          (list "What" 12 t)
          (list "Checked" 8 (mailsync-folders--by 9))
          (list "Synced" 8 (mailsync-folders--by 10))
          (list "Groups" 6 t)))

;;;###autoload
(defun mailsync-folders (&optional account)
  "List the folders of ACCOUNT, or of all accounts if it is nil.
With each: what it waits for, its last change, what and by whom, when it was
checked and synced last or why not, and Gnus's groups.  Interactively, a
prefix argument asks for the account."
  (interactive
   (list (and current-prefix-arg
              (completing-read "Folders of account: "
                               (mailsync--account-names) nil t))))
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (pop-to-buffer (get-buffer-create mailsync-folders--buffer))
  (unless (derived-mode-p 'mailsync-folders-mode)
    (mailsync-folders-mode))
  (unless (equal account mailsync-folders--account)
    (setq mailsync-folders--account account
          mailsync-folders--rows nil)
    (let ((inhibit-read-only t))
      (erase-buffer)))
  (mailsync-folders--ask))

(defun mailsync-folders--ask ()
  "Have this buffer filled with what the engine knows."
  (if (not mailsync-mode)
      (user-error "Mailsync is off; M-x mailsync-start starts it")
    (let ((buffer (current-buffer)))
      (setq mode-line-process ": asking")
      (mailsync-folders-ask "folders" mailsync-folders--account t
                            (lambda (rows)
                              (when (buffer-live-p buffer)
                                (with-current-buffer buffer
                                  (mailsync-folders--fill rows))))))))

(defun mailsync-folders--fill (rows)
  "Fill this buffer with ROWS, those of the engine."
  (let ((table (make-hash-table :test #'equal :size (length rows)))
        (accounts (make-hash-table :test #'equal)))
    (dolist (row rows)
      (puthash (mailsync-folders-row-account row) t accounts)
      (puthash (mailsync-folders--key row) row table))
    ;; Of an account without a maildir only Gnus knows the folders, and who has
    ;; heard of them.
    (dolist (known (mailsync-history-folders mailsync-folders--account))
      (unless (gethash (mailsync-history-folder-account known) accounts)
        (let ((row (mailsync-folders--make-row
                    :account (mailsync-history-folder-account known)
                    :name (mailsync-history-folder-name known)
                    :directory (mailsync-history-folder-directory known)
                    :truename (mailsync-history-folder-truename known))))
          (puthash (mailsync-folders--key row) row table))))
    (setq mailsync-folders--rows table)
    (clrhash mailsync-folders--news)
    (setq mailsync-folders--stale nil
          ;; It is newer than what was told of these accounts.
          mailsync-folders--waiting
          (append (seq-filter #'mailsync-folders--matters-p rows)
                  (and mailsync-folders--account
                       (seq-remove (lambda (row)
                                     (equal (mailsync-folders-row-account row)
                                            mailsync-folders--account))
                                   mailsync-folders--waiting))))
    (mailsync-list--set-format (mailsync-folders--format))
    (mailsync-folders--print-all)))

(defun mailsync-folders--print-all ()
  "Write all rows of this buffer anew, sorted."
  (let ((rows nil))
    (maphash (lambda (_ row) (push row rows)) mailsync-folders--rows)
    (mailsync-folders--begin (nreverse rows) nil)))

;;;; What is news

(defun mailsync-folders-news (keys)
  "There is news of the folders with KEYS: note it for the lists."
  (mailsync-folders--note keys)
  (dolist (key keys)
    ;; One that was deleted: the engine says which there are.
    (unless (gethash key mailsync-history--folders)
      (setq mailsync-folders--stale t))))

(defun mailsync-folders--note (keys)
  "The rows of KEYS may have to say something else."
  ;; What no buffer shows needs no notes; it is filled when it is shown.
  (if (get-buffer-window mailsync-folders--buffer 'visible)
      (dolist (key keys)
        (puthash key t mailsync-folders--news))
    (setq mailsync-folders--stale t)
    (clrhash mailsync-folders--news)))

(defun mailsync-folders-synced (account names)
  "The folders of ACCOUNT in NAMES, a hash table or nil for all, were synced."
  (let ((buffer (get-buffer mailsync-folders--buffer)) keys)
    (when-let ((rows (and buffer (buffer-local-value 'mailsync-folders--rows
                                                     buffer))))
      (maphash (lambda (key row)
                 (when (and (equal (car key) account)
                            (or (null names)
                                (gethash (mailsync-folders-row-name row) names)))
                   (push key keys)))
               rows)
      (mailsync-folders--note keys))))

(defun mailsync-folders--update ()
  "Bring the rows of this buffer of which there is news up to date."
  (cond
   ((null mailsync-folders--rows))
   ;; What it has looked at already may have news again.
   (mailsync-folders--work
    (mailsync-folders-refresh-soon))
   ((not (mailsync-folders--take-news))
    ;; A folder came to be: where it belongs, the engine says.
    (mailsync-folders--ask))
   ((<= (hash-table-count mailsync-folders--news) mailsync-folders--few)
    (mailsync-folders--update-rows mailsync-folders--news))
   (t
    (mailsync-folders--begin
     (mapcar (lambda (entry) (gethash (car entry) mailsync-folders--rows))
             tabulated-list-entries)
     t)
    (mailsync-folders-refresh-soon))))

(defun mailsync-folders--take-news ()
  "Note in the rows of this buffer what waits now; nil if a row is missing.
News of what this buffer does not list is none."
  (let ((waiting (make-hash-table :test #'equal))
        (complete t)
        others)
    (dolist (row mailsync-folders--waiting)
      (puthash (mailsync-folders--key row) row waiting))
    (maphash
     (lambda (key _)
       (if (not (or (null mailsync-folders--account)
                    (equal (car key) mailsync-folders--account)))
           (push key others)
         (let ((row (gethash key mailsync-folders--rows))
               (now (gethash key waiting)))
           (if (null row)
               (setq complete nil)
             ;; What was synced since, the history knows.
             (setf (mailsync-folders-row-letters row)
                   (and now (mailsync-folders-row-letters now))
                   (mailsync-folders-row-aside row)
                   (and now (mailsync-folders-row-aside now)))))))
     mailsync-folders--news)
    (dolist (key others)
      (remhash key mailsync-folders--news))
    complete))

;;;; Up to date

(defun mailsync-folders--shown ()
  "The buffers among mailsync's lists that a window shows."
  ;; This comes with each batch of changes.
  (let ((shown nil))
    (dolist (name (list mailsync-folders--history mailsync-folders--buffer))
      (when (get-buffer-window name 'visible)
        (push name shown)))
    shown))

(defun mailsync-folders-refresh-soon (&optional seconds)
  "Bring the lists up to date in a moment, those that a window shows.
That is in SECONDS, or as soon as they may be."
  (when (and (not mailsync-folders--timer) (mailsync-folders--shown))
    (setq mailsync-folders--timer
          (run-at-time (or seconds mailsync-folders--period) nil
                       #'mailsync-folders--refresh))))

(defun mailsync-folders--refresh ()
  "Bring the lists up to date, those that a window shows still."
  (setq mailsync-folders--timer nil)
  (dolist (name (mailsync-folders--shown))
    (with-current-buffer name
      (condition-case err
          (cond
           ;; It would lose its way.
           ((bound-and-true-p isearch-mode) (mailsync-folders-refresh-soon))
           ((equal name mailsync-folders--history)
            (mailsync-history-list--fill))
           ((not mailsync-mode))
           (mailsync-folders--stale
            (mailsync-folders--ask))
           (t
            (mailsync-folders--update)
            (when (zerop (hash-table-count mailsync-folders--news))
              (mailsync-folders-look))))
        (error
         (mailsync--once (list 'status name) 'error
                         "%s cannot be brought up to date: %s" name
                         (error-message-string err)))))))

(defun mailsync-folders--refresh-folders ()
  "Bring the list of folders up to date, if a window shows it."
  (when (get-buffer-window mailsync-folders--buffer 'visible)
    (with-current-buffer mailsync-folders--buffer
      (mailsync-folders--update))))

(provide 'mailsync-folders)
;;; mailsync-folders.el ends here
