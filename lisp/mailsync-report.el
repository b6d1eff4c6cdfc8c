;;; mailsync-report.el --- What to put into a report of a bug  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Versions, options, status and log as one text on the kill ring.  Names are
;; left out unless the user wants them there: accounts, folders, groups, hosts,
;; users, addresses, directories, and the words of command lines, each by
;; another that is the same wherever it occurs.  What is known to be a name is
;; replaced wherever it stands as a word; what looks like an address, a host, a
;; directory, a group or a quoted text is, too.
;;
;; A secret is in no report: command lines that print one are only named by
;; their program, and what follows a word like \"password\" is left out.

;;; Code:

(require 'cl-lib)
(require 'cus-edit)
(require 'seq)
(require 'subr-x)
(require 'mailsync-accounts)
(require 'mailsync-folders)
(require 'mailsync-history)
(require 'mailsync-log)
(require 'mailsync-module)
(require 'mailsync-pipe)
(require 'mailsync-status)

;;;; Internal variables

(defconst mailsync-report--longest 60000
  "Characters of the log, its last ones, that a report has.")

(defconst mailsync-report--secret-keys
  '(:secret-command :oauth-command :tunnel :environment :input)
  "Keys of accounts and syncers whose values may hold a secret.")

(defvar mailsync-report--names nil
  "Hash table from names to what stands for them, while a report is made.")

(defvar mailsync-report--counts nil
  "Alist from kinds of names to how many there are, while a report is made.")

;;;; Declarations

(defvar gnus-version)
(declare-function mailsync-module--status "ext:mailsync-engine")
(declare-function mailsync-sync--known-folders "mailsync-sync" (account))

;;;; Names

(defun mailsync-report--name (kind name)
  "What stands for NAME, which is one of KIND, a string."
  (or (gethash name mailsync-report--names)
      (puthash name
               (format "%s-%d" kind
                       (cl-incf (alist-get kind mailsync-report--counts
                                           0 nil #'equal)))
               mailsync-report--names)))

(defun mailsync-report--note (kind names)
  "Have NAMES, strings of KIND, be left out wherever they occur."
  (dolist (name names)
    (unless (member name '(nil "" "INBOX" "." "/" "~" "~/"))
      (mailsync-report--name kind name))))

(defun mailsync-report--note-all ()
  "Note all names that are known to be names."
  (mailsync-report--note "account" (mapcar #'car-safe
                                            (append (mailsync-accounts-written)
                                                    mailsync-accounts--valid)))
  (mailsync-report--note "user" (list (user-login-name) (user-full-name)))
  (mailsync-report--note "host" (list (system-name)))
  (dolist (account (mailsync-accounts-written))
    (mailsync-report--note-account (cdr-safe account)))
  (when (fboundp 'mailsync-module--status)
    (mailsync-report--note-status (mailsync-module--status)))
  (dolist (account (mailsync--account-names))
    (mailsync-report--note "folder" (mailsync-sync--known-folders account))
    (mailsync-report--note "folder" (mapcar #'mailsync-folders-row-name
                                            (mailsync-folders-waiting account))))
  (mailsync-report--note "folder"
                         (mapcar #'mailsync-history-folder-name
                                 (mailsync-history-folders)))
  (mailsync-report--note "folder"
                         (delq nil (mapcar #'mailsync-history-story-folder
                                           (mailsync-history-stories)))))

(defun mailsync-report--note-account (keys)
  "Note the names in KEYS, the plist of an account."
  (when (and (proper-list-p keys) (keywordp (car keys)))
    (dolist (directory (ensure-list (plist-get keys :maildir)))
      (when (stringp directory)
        (mailsync-report--note
         "directory"
         (cons directory
               ;; To make another machine's absolute, Tramp would connect to it.
               (unless (mailsync--remote-file-p directory)
                 (let ((file (expand-file-name directory "~/")))
                   (list file (abbreviate-file-name file))))))))
    (mailsync-report--note "server" (list (plist-get keys :gnus-server)))
    (dolist (remote (mailsync-remote-list (plist-get keys :remote)))
      (when (eq (car-safe remote) 'imap)
        (mailsync-report--note "host" (list (plist-get (cdr remote) :host)))
        (mailsync-report--note "user" (list (plist-get (cdr remote) :user)))
        (mailsync-report--note "folder"
                               (append (plist-get (cdr remote) :folders)
                                       (plist-get (cdr remote) :idle-folders))))
      (mailsync-report--note-words remote))
    (mailsync-report--note-words (plist-get keys :syncer))
    (mailsync-report--note-words (plist-get keys :gnus-groups))
    (mailsync-report--note "folder" (seq-filter #'stringp
                                                (ensure-list
                                                 (plist-get keys :ignore))))))

(defun mailsync-report--note-words (form)
  "Note the strings in FORM, which may be words of command lines.
Programs and plain options are no names."
  (cond
   ((consp form)
    (let ((rest form) (first t))
      (while (consp rest)
        (let ((it (pop rest)))
          ;; The program comes after the function, or is the first word.
          (unless (and (stringp it) first)
            (mailsync-report--note-words it))
          (setq first (and first (symbolp it) (not (keywordp it))
                           (memq it '(watcher mailsync-command))))))))
   ((and (stringp form)
         (not (string-match-p "\\`-[-a-zA-Z]*\\'" form))
         (not (string-match-p "\\`%?[a-zA-Z]?\\'" form)))
    (mailsync-report--note "word" (list form)))))

(defun mailsync-report--note-status (status)
  "Note the names in STATUS, a plist from the module."
  (dolist (account (plist-get status :accounts))
    (dolist (root (plist-get account :roots))
      (let ((directory (mailsync-pipe-decode (plist-get root :directory))))
        (mailsync-report--note "directory"
                               (list directory
                                     (abbreviate-file-name directory)))))
    (dolist (remote (plist-get account :remotes))
      (let ((what (mailsync-pipe-decode-text (plist-get remote :what))))
        ;; A command line, of which only the program is told, as it is and as
        ;; the status shows it.
        (when (string-search " " what)
          (let ((told (concat (file-name-nondirectory
                               (car (split-string what " ")))
                              " ...")))
            (puthash what told mailsync-report--names)
            (puthash (mailsync-log-shorten what mailsync-remote--what-width)
                     told mailsync-report--names)))))))

(defconst mailsync-report--patterns
  '(("address" . "[-+.=_[:alnum:]]+@[-.[:alnum:]]*[[:alnum:]]")
    ("group" . "\\_<nn[a-z]+\\(?:\\+[^:[:space:]]+\\)?:[^[:space:],;]*[^[:space:],;:]")
    ("host" . "\\_<\\(?:[[:alnum:]][-[:alnum:]]*\\.\\)+[a-z]\\{2,\\}\\_>")
    ("host" . "\\_<[0-9]+\\(?:\\.[0-9]+\\)\\{3\\}\\_>")
    ("directory" . "\\(?:~[-_[:alnum:]]*\\|\\_<\\|\\B\\)/[^][[:space:]\"'<>,;:()‘’“”]+"))
  "What looks like a name of a kind.")

(defun mailsync-report--without-names (text)
  "TEXT with other names for those in it."
  (let* ((names (sort (hash-table-keys mailsync-report--names)
                      (lambda (one other) (> (length one) (length other)))))
         (known (and names
                     ;; The longest first: a name may be in another one.
                     (mapconcat #'regexp-quote names "\\|")))
         (case-fold-search nil))
    (with-temp-buffer
      (insert text)
      (when known
        (mailsync-report--replace
         (concat "\\(?:\\`\\|[^[:alnum:]]\\)\\(" known "\\)\\(?:[^[:alnum:]]\\|\\'\\)")
         1 (lambda (name) (gethash name mailsync-report--names))))
      (pcase-dolist (`(,kind . ,regexp) mailsync-report--patterns)
        (mailsync-report--replace
         regexp 0
         (lambda (name)
           (if (mailsync-report--ours-p name) name
             (mailsync-report--name kind name)))))
      (mailsync-report--replace
       "\"[^\"\n]+\"" 0
       (lambda (quoted)
         (let ((text (substring quoted 1 -1)))
           (if (mailsync-report--stand-in-p text) quoted
             (format "\"%s\"" (mailsync-report--name "text" text))))))
      (buffer-string))))

(defun mailsync-report--ours-p (name)
  "Non-nil if NAME, which looks like a host's, is a file's of ours, or nobody's."
  (string-match-p "\\.\\(?:elc?\\|rs\\|so\\|toml\\)\\'\\|\\`/\\'" name))

(defun mailsync-report--stand-in-p (name)
  "Non-nil if NAME stands for another one already."
  (string-match-p "\\`\\(?:INBOX\\|[a-z]+-[0-9]+\\|[-a-z]+ \\.\\.\\.\\)\\'" name))

(defun mailsync-report--replace (regexp group function)
  "Replace what GROUP of REGEXP matches in this buffer by what FUNCTION returns."
  (goto-char (point-min))
  (while (re-search-forward regexp nil t)
    (let* ((start (match-beginning group))
           (end (match-end group))
           (new (funcall function (buffer-substring-no-properties start end))))
      ;; What comes after it may come before the next one, too.
      (goto-char start)
      (delete-region start end)
      (insert new))))

(defun mailsync-report--without-secrets (text)
  "TEXT without what follows a word like \"password\"."
  (let ((case-fold-search t))
    (replace-regexp-in-string
     (concat "\\(pass\\(?:word\\|wd\\|phrase\\)?\\|secret\\|token\\|bearer\\)"
             "\\([\"']?[ \t]*[:=][ \t]*\\)[^ \t\n]+")
     "\\1\\2[left out]" text t)))

;;;; The parts

(defun mailsync-report--versions ()
  "Which versions of what there are."
  (concat
   (format "mailsync %s, module %s\n" mailsync-module--version-wanted
           (or (mailsync-module--version-found) "not there"))
   (format "Emacs %s (%s)%s\n" emacs-version system-configuration
           (if (display-graphic-p) (format ", %s" window-system) ", in a terminal"))
   (if (bound-and-true-p gnus-version)
       (format "Gnus %s\n" (replace-regexp-in-string "\\`Gnus " ""
                                                     gnus-version))
     "Gnus is not loaded\n")
   (format "System %s\n" system-type)))

(defun mailsync-report--options (plain)
  "The options that are not as they are by default, strings in them if PLAIN."
  (let ((options (sort (seq-filter #'mailsync-report--changed-p
                                   (mailsync-report--all-options 'mailsync))
                       #'string<)))
    (mapconcat
     (lambda (option)
       (format "%s: %S\n" option
               (mailsync-report--form (symbol-value option) plain)))
     options "")))

(defun mailsync-report--all-options (group)
  "All options of GROUP and of the groups in it."
  (let (options)
    (pcase-dolist (`(,member ,type) (custom-group-members group nil))
      (pcase type
        ('custom-variable (push member options))
        ('custom-group
         (setq options (append (mailsync-report--all-options member) options)))))
    options))

(defun mailsync-report--changed-p (option)
  "Non-nil if OPTION is not as it is by default."
  (and (boundp option)
       (get option 'standard-value)
       (not (equal (symbol-value option)
                   (eval (car (get option 'standard-value)) t)))))

(defun mailsync-report--form (form plain)
  "FORM as a report has it: without secrets, and without code unless PLAIN."
  (cond
   ((functionp form) (if (symbolp form) form 'a-function))
   ((and (stringp form) (not plain) (string-match-p "%" form)) form)
   ((consp form)
    (let (forms key)
      (while (consp form)
        (let ((it (pop form)))
          (push (if (memq key mailsync-report--secret-keys)
                    (mailsync-report--program it)
                  (mailsync-report--form it plain))
                forms)
          (setq key it)))
      (nconc (nreverse forms)
             (and form (mailsync-report--form form plain)))))
   (t form)))

(defun mailsync-report--program (command)
  "The program of COMMAND, which may hold a secret."
  (let ((program (if (consp command) (car command)
                   (and (stringp command) (car (split-string command))))))
    (if (and (stringp program) (not (string-search "=" program)))
        (list (file-name-nondirectory program) '…)
      '(…))))

(defun mailsync-report--log ()
  "The end of the log."
  (if-let ((buffer (get-buffer mailsync-log--buffer)))
      (with-current-buffer buffer
        (save-excursion
          (goto-char (max (point-min)
                          (- (point-max) mailsync-report--longest)))
          (unless (bobp)
            (forward-line))
          (buffer-substring-no-properties (point) (point-max))))
    ""))

(defun mailsync-report-text (&optional plain)
  "What a report of a bug should have; with PLAIN with the names in it."
  (let* ((mailsync-report--names (make-hash-table :test #'equal))
         (mailsync-report--counts nil)
         (mailsync-status--folded nil)
         (text (concat (mailsync-report--options plain)
                       "\nStatus:\n\n"
                       (substring-no-properties (mailsync-status--text))
                       "\nLog:\n\n" (mailsync-report--log))))
    (unless plain
      (mailsync-report--note-all)
      (setq text (mailsync-report--without-names text)))
    (mailsync-report--without-secrets
     (concat (mailsync-report--versions) "\nOptions:\n\n" text))))

;;;###autoload
(defun mailsync-log-copy (&optional plain)
  "Put versions, options, status and log on the kill ring, for a bug report.
Names of accounts, folders, groups, hosts, users and directories are replaced,
each by the same wherever it occurs, and of command lines only the program is
told; with PLAIN, a prefix argument, they are left as they are.  A command
that prints a secret is only named by its program either way."
  (interactive "P")
  (let ((text (mailsync-report-text plain)))
    (kill-new text)
    (message "mailsync: %d lines are on the kill ring, %s; read them before you \
send them"
             (length (split-string text "\n"))
             (if plain "with all names" "without the names that are known"))
    text))

(provide 'mailsync-report)
;;; mailsync-report.el ends here
