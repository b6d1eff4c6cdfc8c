;;; mailsync-status-acts.el --- What the keys of mailsync's buffers do  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The status, the list of folders and the history name accounts by the text
;; property `mailsync-account', and folders as `mailsync-status-folder-function'
;; finds them, by default by the property `mailsync-folder', a plist as a change
;; is.  Here is what one can have done to them.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-accounts)
(require 'mailsync-dispatch)
(require 'mailsync-log)
(require 'mailsync-remote)
(require 'mailsync-sync)
(require 'mailsync-sync-say)

;;;; Declarations

(defvar gnus-group-buffer)
(defvar gnus-init-file)
(defvar mailsync-mode)
(declare-function gnus-alive-p "gnus-util")
(declare-function gnus-group-goto-group "gnus-group"
                  (group &optional far test-marked))
(declare-function gnus-group-jump-to-group "gnus-group"
                  (group &optional prompt))
(declare-function gnus-group-read-group "gnus-group"
                  (&optional all no-article group select-articles))
(declare-function mailsync-check "mailsync-life" (&optional account))
(declare-function mailsync-folders "mailsync-folders" (&optional account))
(declare-function mailsync-gnus-folder-groups "mailsync-gnus-folders" (folder))
(declare-function mailsync-history "mailsync-history-list" ())

;;;; Where point is

(defun mailsync-status--account-here (prompt)
  "The account that point is at; ask with PROMPT where there is none."
  (or (get-text-property (point) 'mailsync-account)
      (progn
        (mailsync-sync--need nil)
        (mailsync-sync--read-account prompt))))

(defvar-local mailsync-status-folder-function
  (lambda () (get-text-property (point) 'mailsync-folder))
  "Function that returns the folder that point is at, or nil.")

(defun mailsync-status-folder-here ()
  "The folder that point is at, a plist as a change is, or nil."
  (funcall mailsync-status-folder-function))

;;;; Keys

(defvar mailsync-status-acts-map
  (let ((map (make-sparse-keymap)))
    (define-key map "c" #'mailsync-status-check)
    (define-key map "e" #'mailsync-status-option)
    (define-key map "f" #'mailsync-status-folders)
    (define-key map "h" #'mailsync-history)
    (define-key map "l" #'mailsync-log)
    (define-key map "o" #'mailsync-status-output)
    (define-key map "p" #'mailsync-status-pause)
    (define-key map "r" #'mailsync-status-resume)
    (define-key map "s" #'mailsync-status-sync)
    (define-key map "v" #'mailsync-status-visit)
    map)
  "Keys that mailsync's buffers share.")

;;;; Commands

(defun mailsync-status-output ()
  "Show what the last sync of the account at point printed."
  (interactive)
  (mailsync-output (mailsync-status--account-here "Output of account")))

(defun mailsync-status-sync ()
  "Sync the folder at point now, or all of the account at point."
  (interactive)
  (let ((folder (mailsync-status-folder-here)))
    (mailsync-sync (mailsync-status--account-here "Sync account")
                   (and folder (list (plist-get folder :folder)))
                   t)))

(defun mailsync-status-check ()
  "Have Gnus check the folder at point now, or all of the account at point.
Where there is none, everything is checked."
  (interactive)
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (let ((folder (mailsync-status-folder-here))
        (account (get-text-property (point) 'mailsync-account)))
    (if folder
        (mailsync--changed account
                           (list (append (list :kinds (list 'unknown)
                                               :origins (list 'local)
                                               :serial 0)
                                         folder)))
      (mailsync-check account))
    (mailsync--say "%s checked"
                   (cond (folder (format "%s of \"%s\" is being"
                                         (plist-get folder :folder) account))
                         (account (format "\"%s\" is being" account))
                         (t "all accounts are being")))))

(defun mailsync-status-pause ()
  "Pause the account at point, or resume it if it is paused."
  (interactive)
  (let* ((account (mailsync-status--account-here "Pause or resume account"))
         (sync (mailsync-sync-state account)))
    (if (or (plist-get sync :paused) (mailsync-remote-paused-p account))
        (mailsync-resume account)
      (mailsync-pause account))))

(defun mailsync-status-resume ()
  "Resume the syncs of the account at point, and what watches its servers."
  (interactive)
  (mailsync-resume (mailsync-status--account-here "Resume account")))

(defun mailsync-status-folders (&optional all)
  "List the folders of the account at point; with ALL those of every account.
Where point is at no account, all are listed, too."
  (interactive "P")
  (mailsync-folders (and (not all)
                         (get-text-property (point) 'mailsync-account))))

(defun mailsync-status-visit (&optional read)
  "Go to the group of the folder at point in *Group*; with READ enter it."
  (interactive "P")
  (let ((folder (or (mailsync-status-folder-here)
                    (user-error "There is no folder at point"))))
    (unless (and (fboundp 'gnus-alive-p) (gnus-alive-p)
                 (featurep 'mailsync-gnus))
      (user-error "Gnus is not running"))
    (let* ((groups (or (mailsync-gnus-folder-groups folder)
                       (user-error "Gnus has no group for %s"
                                   (plist-get folder :folder))))
           (group (if (cdr groups)
                      (completing-read (format-prompt "Group" (car groups))
                                       groups nil t nil nil (car groups))
                    (car groups))))
      (pop-to-buffer gnus-group-buffer)
      (unless (gnus-group-goto-group group)
        (gnus-group-jump-to-group group))
      (when read
        (gnus-group-read-group nil t group)))))

(defun mailsync-status-option ()
  "Go to where the account at point is configured.
That is the place in your init file, or in Gnus's, that has its name after
`mailsync-accounts'; where there is none, the page of Customize."
  (interactive)
  (mailsync-status-option-of (get-text-property (point) 'mailsync-account)))

(defun mailsync-status-option-of (account)
  "Go to where ACCOUNT is configured; with nil to where all accounts are."
  (let ((place (mailsync-status--option-place account)))
    (if (null place)
        (customize-variable 'mailsync-accounts)
      (find-file-other-window (car place))
      (push-mark nil t)
      (widen)
      (goto-char (cdr place)))))

(defun mailsync-status--option-place (account)
  "Where ACCOUNT is configured, as far as can be found: (FILE . POSITION).
With nil it is where `mailsync-accounts' is."
  (seq-some (lambda (file)
              (when-let ((position (mailsync-status--option-in file account)))
                (cons file position)))
            (let ((gnus (bound-and-true-p gnus-init-file)))
              (seq-filter
               #'file-readable-p
               (seq-uniq
                (mapcar (lambda (file) (replace-regexp-in-string "\\.elc\\'" ".el" file))
                        (seq-filter #'stringp
                                    (list user-init-file custom-file gnus
                                          (and gnus (concat gnus ".el"))))))))))

(defun mailsync-status--option-in (file account)
  "The position in FILE where ACCOUNT is configured, or nil."
  (with-temp-buffer
    (insert-file-contents file)
    (when (re-search-forward "\\_<mailsync-accounts\\_>" nil t)
      (if (and account
               (re-search-forward (regexp-quote (format "(%S" account)) nil t))
          (match-beginning 0)
        (line-beginning-position)))))

(provide 'mailsync-status-acts)
;;; mailsync-status-acts.el ends here
