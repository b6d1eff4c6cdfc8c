;;; mailsync-accounts.el --- The accounts of mailsync, read and checked  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What the user writes into `mailsync-accounts' and the delays, checked and
;; put into one form.  A mistake is said once, with the account and the key to
;; mend; it stops that account alone.  No file is looked at here: whether a
;; directory exists is found out in the background.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-options)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-syncers)

;;;; Internal variables

(defconst mailsync-accounts--keys
  '((:maildir mailsync-accounts--directories-p "a directory of this machine, or a list of them")
    (:layout mailsync-accounts--layout-p "auto, maildir++ or nested")
    (:poll mailsync-accounts--period-p "nil, or a number of seconds, at least 0.1")
    (:syncer mailsync-accounts--syncer-p "a function, or (FUNCTION . ARGS)")
    (:remote mailsync-remote-p "(watcher PROGRAM ARGS...), (imap KEY VALUE...) or a list of these")
    (:prefix mailsync-syncers--string-p "a string")
    (:separator mailsync-syncers--string-p "a string")
    (:ignore mailsync-accounts--strings-p "a list of folder names or globs")
    (:gnus-server stringp "the name of a server of Gnus, a string")
    (:gnus-groups mailsync-accounts--groups-p
                  "a function, or an alist from folders to lists of groups")
    (:inter-delay mailsync-accounts--delays-p
                  "seconds, or an alist from folder names or globs to seconds")
    (:coalesce-delay mailsync-accounts--seconds-p "a number of seconds")
    (:coalesce-max-delay mailsync-accounts--seconds-p "a number of seconds")
    (:base-delay mailsync-accounts--seconds-p "a number of seconds")
    (:max-delay mailsync-accounts--seconds-p "a number of seconds")
    (:poll-period mailsync-accounts--seconds-p "a number of seconds")
    (:check-timeout mailsync-accounts--seconds-p "a number of seconds")
    (:sync-timeout mailsync-accounts--seconds-p "a number of seconds"))
  "Keys of an account: a predicate and what it wants, in words.
A value of nil is as good as no key.")

(defconst mailsync-accounts--delays
  '((:coalesce-delay . mailsync-coalesce-delay)
    (:coalesce-max-delay . mailsync-coalesce-max-delay)
    (:base-delay . mailsync-base-delay)
    (:inter-delay . mailsync-inter-delay)
    (:max-delay . mailsync-max-delay)
    (:poll-period . mailsync-poll-period)
    (:check-timeout . mailsync-check-timeout)
    (:sync-timeout . mailsync-sync-timeout))
  "Keys of delays with the options that hold where an account has none.")

(defvar mailsync-accounts--valid nil
  "The accounts that are used: alist from names to plists.")

(defvar mailsync-accounts--discovered nil
  "What stands for `mailsync-accounts' where that is nil.
Accounts that were discovered, `looking' while they are not yet, `default' if
there are none, nil before anybody has looked.")

(defvar mailsync-accounts-more-function #'ignore
  "Function called with the configured accounts that are right.
It returns more accounts, for what nobody needs to configure.")

(defvar mailsync-accounts--faults nil
  "What is left out: list of what is wrong, strings.")

(defvar mailsync-accounts--reasons nil
  "Alist from names of accounts to why they, or their syncers, are left out.")

(declare-function mailsync--configuration-changed "mailsync-life"
                  (&optional seconds))

;;;; Code

(defun mailsync-accounts--seconds-p (value)
  "Non-nil if VALUE is a delay."
  (and (numberp value) (<= 0 value 1e9)))

(defun mailsync-accounts--period-p (value)
  "Non-nil if VALUE is a period."
  (and (mailsync-accounts--seconds-p value) (>= value 0.1)))

(defun mailsync-accounts--strings-p (value)
  "Non-nil if VALUE is a list of strings."
  (and (proper-list-p value) (seq-every-p #'stringp value)))

(defun mailsync-accounts--directories-p (value)
  "Non-nil if VALUE is a directory of this machine or a list of such."
  (let ((names (if (stringp value) (list value) value)))
    (and names (proper-list-p names)
         (seq-every-p (lambda (name)
                        (and (mailsync-syncers--file-p name) (not (equal name ""))))
                      names))))

(defun mailsync-accounts--layout-p (value)
  "Non-nil if VALUE is a layout."
  (memq value '(auto maildir++ nested)))

(defun mailsync-accounts--syncer-p (value)
  "Non-nil if VALUE may be a syncer; what it is worth is found out later."
  (or (functionp value) (symbolp value) (consp value)))

(defun mailsync-accounts--groups-p (value)
  "Non-nil if VALUE can say which groups a folder has."
  (or (functionp value)
      (and (proper-list-p value)
           (seq-every-p (lambda (entry)
                          (and (consp entry) (stringp (car entry))
                               (mailsync-accounts--strings-p (cdr entry))))
                        value))))

(defun mailsync-accounts--delays-p (value)
  "Non-nil if VALUE is a delay, or an alist of delays."
  (or (mailsync-accounts--seconds-p value)
      (and (proper-list-p value)
           (seq-every-p (lambda (entry)
                          (and (consp entry)
                               (or (eq (car entry) t) (stringp (car entry)))
                               (mailsync-accounts--seconds-p (cdr entry))))
                        value))))

(defun mailsync-accounts--fault (account)
  "What is wrong with ACCOUNT, in words, or nil."
  (cond
   ((not (and (consp account) (stringp (car account))
              (not (equal (car account) ""))))
    (format "%S does not begin with a name" account))
   ((not (and (proper-list-p (cdr account))
              (zerop (% (length (cdr account)) 2))))
    "it is not a name followed by keys and values in turn")
   (t
    (pcase (mailsync-syncers-wrong-key (cdr account) mailsync-accounts--keys)
      (`(,key . ,(and names (pred stringp)))
       (format "it has no key %S; the keys are %s" key names))
      (`(,key ,value ,wanted)
       (format "%S is %S, but has to be %s" key value wanted))
      (_
       (or (when-let* ((fault (mailsync-remote-fault
                               (plist-get (cdr account) :remote))))
             (concat ":remote: " fault))
           (and (not (plist-get (cdr account) :maildir))
                (not (plist-get (cdr account) :remote))
                ":maildir is missing (or :remote, for mail that is on a server \
only)")))))))

(defun mailsync-accounts-read ()
  "Read `mailsync-accounts'; return those that are right, and remember them."
  (pcase-dolist (`(,_ . ,option) mailsync-accounts--delays)
    (mailsync-accounts--delay option))
  (setq mailsync-accounts--faults nil
        mailsync-accounts--reasons nil)
  (let (valid)
    (cond
     ((not (or (proper-list-p mailsync-accounts) (eq mailsync-accounts 'none)))
      (mailsync-accounts--left-out
       '(accounts) (format-message "`mailsync-accounts' is not a list")))
     ((stringp (car-safe mailsync-accounts))
      (mailsync-accounts--left-out
       '(accounts) (format-message "`mailsync-accounts' is one account, %S, but has \
to be a list of accounts; put it in another pair of parentheses"
                                   (car mailsync-accounts))))
     (t
      (dolist (account (or (mailsync-accounts-written)
                           (mailsync-accounts--unwritten)))
        (let ((fault (or (mailsync-accounts--fault account)
                         (and (assoc (car account) valid)
                              "another one has its name already"))))
          (if fault
              (mailsync-accounts--left-out
               (list 'account account)
               (format-message
                "`mailsync-accounts': the account %S is left out: %s"
                (if (consp account) (car account) account) fault)
               (car-safe account) fault)
            ;; Whoever changes the list in place, changes it for the next time.
            (push (copy-sequence account) valid))))))
    (setq mailsync-accounts--valid (nreverse valid)
          mailsync-accounts--valid
          (append mailsync-accounts--valid
                  (funcall mailsync-accounts-more-function
                           mailsync-accounts--valid)))))

(defun mailsync-accounts--left-out (key text &optional account reason)
  "Say TEXT, why something is left out, once for KEY; remember it.
It is about ACCOUNT, if that is given, and in short REASON."
  (push text mailsync-accounts--faults)
  (when account
    (push (cons account reason) mailsync-accounts--reasons))
  (mailsync--once key 'error "%s" text))

(defun mailsync-accounts-written ()
  "The accounts of `mailsync-accounts', right or not; nil if there are none."
  (and (proper-list-p mailsync-accounts) mailsync-accounts))

(defun mailsync-accounts--unwritten ()
  "The accounts of a user who configures none, unless he says there are none."
  (pcase (or mailsync-accounts mailsync-accounts--discovered)
    ('none nil)
    ('looking nil)
    ((or 'nil 'default) (mailsync-accounts--default))
    (accounts accounts)))

(defun mailsync-accounts--default ()
  "The account of a user who configures none and of whom nothing is known.
Who reads mail by nnimap, and says so, need not have a maildir."
  (let ((maildir (or (getenv "MAILDIR")
                     (and (not (bound-and-true-p mailsync-gnus-watch-nnimap))
                          "~/Maildir"))))
    (and maildir (list (list "mail" :maildir maildir)))))

(defun mailsync-accounts--delay (option)
  "The value of OPTION, a delay; the standard one if it is none."
  (mailsync--option option
                    (if (eq option 'mailsync-inter-delay)
                        #'mailsync-accounts--delays-p
                      #'mailsync-accounts--seconds-p)
                    "a number of seconds"))

(defun mailsync-account-get (account key)
  "The value of KEY in the account with the name ACCOUNT.
A delay that it does not have is the option's."
  (or (plist-get (cdr (assoc account mailsync-accounts--valid)) key)
      (when-let ((option (cdr (assq key mailsync-accounts--delays))))
        (mailsync-accounts--delay option))))

(defun mailsync--account-names ()
  "Names of all accounts that are used."
  (mapcar #'car mailsync-accounts--valid))

(defun mailsync-accounts-for-module (accounts)
  "ACCOUNTS in the form that the module's start function wants."
  (vconcat
   (mapcar
    (lambda (account)
      (let ((name (car account))
            (maildir (plist-get (cdr account) :maildir))
            (poll (plist-get (cdr account) :poll)))
        (vector
         (mailsync-pipe-encode-text name)
         (float (mailsync-account-get name :coalesce-delay))
         (float (mailsync-account-get name :coalesce-max-delay))
         (vconcat
          (mapcar (lambda (directory)
                    (vector (mailsync-pipe-encode
                             (directory-file-name
                              (expand-file-name directory "~/")))
                            (symbol-name (or (plist-get (cdr account) :layout)
                                             'auto))
                            (and poll (float poll))))
                  (if (stringp maildir) (list maildir) maildir)))
         (mailsync-accounts--sync account)
         (mailsync-accounts--remotes account))))
    accounts)))

(defun mailsync-accounts--remotes (account)
  "What ACCOUNT watches on servers, as the module wants it."
  (let* ((name (car account))
         (get (lambda (key) (mailsync-account-get name key))))
    (mailsync-remote-for-module
     (funcall get :remote) (funcall get :prefix) (funcall get :separator)
     (car (mailsync-accounts--inter (funcall get :inter-delay)))
     (funcall get :max-delay))))

(defun mailsync-accounts--sync (account)
  "How ACCOUNT is synced, as the module wants it; nil if it is not."
  (when-let* ((syncer (plist-get (cdr account) :syncer))
              (name (car account))
              (described (mailsync-accounts--describe name syncer)))
    (pcase-let ((delay (lambda (key) (float (mailsync-account-get name key))))
                (`(,inter . ,overrides)
                 (mailsync-accounts--inter (mailsync-account-get name
                                                                 :inter-delay))))
      (vector (funcall delay :base-delay)
              (float inter)
              (vconcat (mapcar (pcase-lambda (`(,glob . ,seconds))
                                 (vector (mailsync-pipe-encode-text glob)
                                         (float seconds)))
                               overrides))
              (funcall delay :max-delay)
              (funcall delay :poll-period)
              (funcall delay :check-timeout)
              (float (or (cdr described)
                         (mailsync-account-get name :sync-timeout)))
              (and mailsync-sync-at-start t)
              (vconcat (mapcar #'mailsync-pipe-encode-text
                               (append (plist-get (cdr account) :ignore)
                                       (mailsync-accounts--ignored))))
              (car described)))))

(defun mailsync-accounts--describe (account syncer)
  "What SYNCER says of ACCOUNT, or nil if it cannot be used.
Then the account is watched all the same."
  (condition-case err
      (mailsync-accounts-describe account syncer)
    ;; C-g was meant for something else, or for a function that takes its time.
    (mailsync-syncer-quit
     (when (bound-and-true-p mailsync-mode)
       (mailsync-log-add 'warning "%s; it is asked again in %s s" (cadr err)
                         mailsync--quit-pause)
       (mailsync--configuration-changed mailsync--quit-pause))
     nil)
    (mailsync-syncer-error
     (mailsync-accounts--left-out (list 'syncer account)
                                  (format "%s; it is not synced" (cadr err))
                                  account
                                  (string-remove-prefix
                                   (format "account \"%s\", " account)
                                   (cadr err)))
     nil)))

(defun mailsync-accounts-describe (account syncer &optional folders per-run)
  "As `mailsync-syncers-describe', with what ACCOUNT says of names.
SYNCER, FOLDERS and PER-RUN are as there."
  (let ((described (mailsync-syncers-describe account syncer folders per-run)))
    (pcase-dolist (`(,key . ,at) '((:separator . 12) (:prefix . 13)))
      (let ((value (mailsync-account-get account key))
            (vector (car described)))
        (when (and value (equal (aref vector 0) "command")
                   (not (aref vector at)))
          (aset vector at (mailsync-pipe-encode-text value)))))
    described))

(defun mailsync-accounts--inter (delay)
  "Split DELAY, seconds or an alist, into the delay for all and the others."
  (if (numberp delay)
      (list delay)
    (let ((rest (seq-find (lambda (entry) (eq (car entry) t)) delay)))
      (cons (cond
             (rest (cdr rest))
             ((numberp mailsync-inter-delay) mailsync-inter-delay)
             (t (alist-get t (mailsync-accounts--delay 'mailsync-inter-delay) 5)))
            (seq-filter (lambda (entry) (stringp (car entry))) delay)))))

(defun mailsync-accounts--ignored ()
  "Folders that are ignored in all accounts."
  (if (mailsync-accounts--strings-p mailsync-ignore-folders)
      mailsync-ignore-folders
    (mailsync--once '(mailsync-ignore-folders) 'error
                    "`mailsync-ignore-folders' is %S, but has to be a list of \
folder names or globs; none is ignored" mailsync-ignore-folders)
    nil))

(provide 'mailsync-accounts)
;;; mailsync-accounts.el ends here
