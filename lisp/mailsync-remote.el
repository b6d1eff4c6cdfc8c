;;; mailsync-remote.el --- What is known of stores on servers  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The key `:remote' of accounts: how the module wants it, what the module
;; tells of the programs that watch those stores, and how the user sees it.
;; When such a program is started, and what its words mean, the module decides
;; (src/remote/).

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-pipe)
(require 'mailsync-syncers)
(require 'mailsync-imap)

;;;; Internal variables

(defconst mailsync-remote--what-width 36
  "So many columns of a watcher's command line the status shows.
More would not fit into a line of a terminal, with what comes after it.")

(defvar mailsync-remote--states nil
  "Alist from (ACCOUNT . NUMBER) to what is known of a store on a server.
That is a plist `:what' `:state' `:text'.")

;;;; Declarations

(defvar mailsync-check-function)
(declare-function mailsync--account-names "mailsync-accounts")
(declare-function mailsync--changed "mailsync-dispatch" (account changes))
(declare-function mailsync-check-by-gnus "mailsync-dispatch")
(declare-function mailsync-gnus-account-folders "mailsync-gnus-folders"
                  (account))
(declare-function mailsync-gnus-server-is-back "mailsync-gnus" (account))
(declare-function mailsync-status-update "mailsync-status")
(declare-function mailsync-sync--known-folders "mailsync-sync" (account))

;;;; The configuration

(defun mailsync-remote-list (value)
  "VALUE, what an account has for `:remote', as a list of stores."
  (if (symbolp (car-safe value)) (and value (list value)) value))

(defun mailsync-remote-p (value)
  "Non-nil if VALUE says what to watch on servers."
  (and (proper-list-p value)
       (seq-every-p #'mailsync-remote--one-p (mailsync-remote-list value))))

(defun mailsync-remote--one-p (value)
  "Non-nil if VALUE may say what to watch on one server."
  (and (proper-list-p value)
       (pcase (car value)
         ('watcher (mailsync-syncers--words-p (cdr value)))
         ;; What is wrong there, `mailsync-remote-fault' says.
         ('imap t))))

(defun mailsync-remote-fault (value)
  "What is wrong with VALUE, for which `mailsync-remote-p' holds, or nil."
  (seq-some (lambda (remote)
              (and (eq (car remote) 'imap)
                   (mailsync-imap-fault (cdr remote))))
            (mailsync-remote-list value)))

(defun mailsync-remote-for-module (remotes prefix separator inter max)
  "REMOTES, a value of `:remote', as the module wants it.
PREFIX and SEPARATOR are what the account says of names, or nil; INTER and MAX
are the shortest and the longest wait between two attempts."
  (vconcat
   (mapcar (lambda (remote)
             (vector (symbol-name (car remote))
                     (float inter)
                     (float max)
                     (mailsync-remote--folders remote)
                     (pcase (car remote)
                       ('imap (mailsync-imap-for-module (cdr remote) prefix
                                                        separator))
                       (_ (mailsync-remote--program (cdr remote) prefix
                                                    separator)))))
           (mailsync-remote-list remotes))))

(defun mailsync-remote--folders (remote)
  "Globs for the folders of REMOTE that matter, as the module wants them."
  (vconcat (and (eq (car remote) 'imap)
                (mapcar #'mailsync-pipe-encode-text
                        (plist-get (cdr remote) :folders)))))

(defun mailsync-remote--program (words prefix separator)
  "WORDS, a watcher's command line, as the module wants it.
PREFIX and SEPARATOR are what the account says of names, or nil."
  (vector (vconcat (cons (mailsync-syncers--executable (car words))
                         (mapcar #'mailsync-pipe-encode-text (cdr words))))
          (mailsync-syncers--search)
          (mailsync-syncers--environment nil)
          (mailsync-pipe-encode-text (or prefix ""))
          (mailsync-pipe-encode-text (or separator "."))))

;;;; What the module tells

(defun mailsync-remote-notice (account number what state text)
  "The store NUMBER of ACCOUNT, watched by WHAT, is in STATE, with TEXT.
A state of \"gone\" means that it is configured no longer."
  (let* ((key (cons account number))
         (state (intern state))
         (known (assoc key mailsync-remote--states))
         (before (cdr known))
         (told (plist-get before :told)))
    (cond
     ((eq state 'gone)
      (setq mailsync-remote--states (delq known mailsync-remote--states)))
     ;; What was on its way when an account was given up is nobody's.
     ((member account (mailsync--account-names))
      (setf (alist-get key mailsync-remote--states nil nil #'equal)
            (list :what what :state state :text text
                  ;; Another try is no news, but its end is.
                  :told (if (eq state 'starting) told state)))
      (when (and (eq state 'connected)
                 (not (eq state (plist-get before :state)))
                 (featurep 'mailsync-gnus))
        (mailsync-gnus-server-is-back account))
      (unless (and (eq state (plist-get before :state))
                   (equal text (plist-get before :text)))
        (mailsync-remote--say account what state text told))))
    (mailsync-status-update)))

(defun mailsync-remote--say (account what state text before)
  "Tell the user that a store of ACCOUNT, watched by WHAT, is in STATE.
TEXT says why.  BEFORE is the last state in which it stayed, or nil."
  (let ((key (list 'remote account what)))
    (pcase state
      ('connected
       (mailsync--once-clear key)
       (mailsync-log-add 'info "%s: watching the server by %s" account what)
       (when (memq before '(waiting paused))
         (mailsync--run-hook-safely 'mailsync-state-change-functions account
                                    'watching)))
      ('waiting
       (mailsync-log-add 'warning "%s: %s; it is tried again" account text)
       (unless (eq before 'waiting)
         (mailsync--run-hook-safely 'mailsync-state-change-functions account
                                    'offline)))
      ('paused
       (mailsync--once key 'error "\"%s\": the server is not watched: %s; then \
M-x mailsync-resume" account (string-remove-suffix "." text))
       (mailsync--run-hook-safely 'mailsync-state-change-functions account
                                  'paused)))))

(defun mailsync-remote-keep (accounts)
  "Forget what is known of stores, but for those of ACCOUNTS, names."
  (setq mailsync-remote--states
        (delq nil (mapcar (lambda (entry)
                            (and (member (caar entry) accounts) entry))
                          mailsync-remote--states))))

(defun mailsync-remote-everything (account)
  "Have everything of ACCOUNT checked, which has no maildir.
Which folders there are, Gnus knows, and who has heard of them."
  (let ((folders (delete-dups
                  (append (and (eq mailsync-check-function
                                   #'mailsync-check-by-gnus)
                               (featurep 'mailsync-gnus)
                               (mailsync-gnus-account-folders account))
                          (mailsync-sync--known-folders account)))))
    (when folders
      (mailsync--changed account
                         (mapcar (lambda (folder)
                                   (list :account account
                                         :folder folder
                                         :directory nil
                                         :truename folder
                                         :kinds (list 'unknown)
                                         :origins (list 'remote)
                                         :serial 0))
                                 folders)))))

;;;; How it is

(defun mailsync-remote--in (state &optional account)
  "What is known of the stores (of ACCOUNT) that are in STATE: a list of plists."
  (let (found)
    (pcase-dolist (`((,name . ,_) . ,known) mailsync-remote--states)
      (when (and (eq (plist-get known :state) state)
                 (or (null account) (equal name account)))
        (push known found)))
    (nreverse found)))

(defun mailsync-remote-offline-p ()
  "Non-nil if a store cannot be watched now, and is tried again."
  (mailsync-remote--in 'waiting))

(defun mailsync-remote-paused-p (&optional account)
  "Non-nil if a store (of ACCOUNT) is not watched until the user resumes it."
  (mailsync-remote--in 'paused account))

(defun mailsync-remote-starting-p ()
  "Non-nil if a store is connected to for the first time, which may take a while."
  (memq nil (mapcar (lambda (known) (plist-get known :told))
                    (mailsync-remote--in 'starting))))

(defun mailsync-remote-account-state (account)
  "How the stores of ACCOUNT are together, or nil if they are watched.
An account of which nothing lies on this machine is so, too."
  (cond
   ((mailsync-remote-paused-p account) 'paused)
   ((mailsync-remote--in 'waiting account) 'offline)
   ((mailsync-remote--in 'starting account) 'starting)))

(defun mailsync-remote-paused-accounts ()
  "Names of the accounts with a store that the user has to resume."
  (seq-filter #'mailsync-remote-paused-p (mailsync--account-names)))

(defun mailsync-remote-words (account)
  "How the stores of ACCOUNT on servers are, for the end of a line."
  (mapconcat (lambda (known)
               (format "; server %s: %s"
                       (mailsync-remote--word (plist-get known :state))
                       (plist-get known :text)))
             (append (mailsync-remote--in 'paused account)
                     (mailsync-remote--in 'waiting account))
             ""))

(defun mailsync-remote--word (state)
  "STATE in words."
  (pcase state
    ('waiting "offline")
    ('paused "not watched until M-x mailsync-resume")
    (_ (symbol-name state))))

(defun mailsync-remote-insert (status)
  "Write about a store whose STATUS is a plist from the module."
  (let ((state (plist-get status :state))
        (text (mailsync-pipe-decode-text (plist-get status :text)))
        (ago (lambda (key)
               (mailsync-log-time (time-subtract nil (plist-get status key))))))
    (insert "  server, by "
            (let ((what (mailsync-pipe-decode-text (plist-get status :what))))
              (propertize
               ;; How a mailbox is watched is at the end of what is said of IMAP.
               (if (string-prefix-p "IMAP" what) what
                 (mailsync-log-shorten what mailsync-remote--what-width))
               'help-echo (mailsync-log-help what)))
            ": "
            (propertize (mailsync-remote--word state)
                        'face (and (memq state '(waiting paused))
                                   'mailsync-trouble))
            (if (eq state 'paused) ", since " " since ")
            (string-remove-prefix "at " (funcall ago :since))
            (if (plist-get status :news)
                (concat ", last news " (funcall ago :news))
              "")
            (cond ((plist-get status :next)
                   (concat ", next try "
                           (mailsync-log-time
                            (time-add nil (plist-get status :next)))))
                  ((eq state 'waiting) ", being tried")
                  (t ""))
            "\n")
    (unless (equal text "")
      (insert "    " text "\n"))))

(provide 'mailsync-remote)
;;; mailsync-remote.el ends here
