;;; mailsync-syncers.el --- Syncers as functions  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A syncer is a function that describes how an account is synced: it gets the
;; account's name and its own arguments, and returns a plist, at once and
;; without looking at any file.  The functions for mbsync, OfflineIMAP and any
;; command are here, and how a description is checked and put into the form
;; that the module wants.  Running it is the module's business.
;;
;; A description has `:command' (a list of strings), or `:program' (`mbsync' or
;; `offlineimap') with `:target', `:config', `:args' and `:executable'; or, alone
;; or beside one of them, `:worker' with `:idle' and `:quit'; besides
;; `:environment' `:directory' `:input' `:timeout' `:success' `:naming'
;; `:separator' `:prefix' `:all-args' `:per-folder' `:pulls-only' `:per-run'.
;;
;; In what the user is told a key stands as it is, and what else he may have
;; written in Lisp is quoted as `format-message' does it.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-pipe)

(define-error 'mailsync-syncer-error "A syncer cannot be used")
(define-error 'mailsync-syncer-quit "A syncer was quit" 'mailsync-syncer-error)

;;;; Internal variables

(defconst mailsync-syncers--keys
  '((:command mailsync-syncers--words-p "a list of strings that begins with the program")
    (:program mailsync-syncers--program-p
              "`mbsync' or `offlineimap' (:executable is its file)")
    (:worker mailsync-syncers--words-p
             "a list of strings that begins with the program")
    (:persistent booleanp "t or nil")
    (:idle mailsync-syncers--timeout-p "a number of seconds")
    (:quit mailsync-syncers--timeout-p "a number of seconds")
    (:target mailsync-syncers--string-p "a string")
    (:config mailsync-syncers--file-p "the name of a file of this machine")
    (:args mailsync-syncers--strings-p "a list of strings")
    (:executable mailsync-syncers--file-p "the name of a program of this machine")
    (:environment mailsync-syncers--strings-p "a list of \"NAME=VALUE\"")
    (:directory mailsync-syncers--file-p "the name of a directory of this machine")
    (:input mailsync-syncers--string-p "a string")
    (:timeout mailsync-syncers--timeout-p "a number of seconds")
    (:success mailsync-syncers--codes-p "a list of exit codes")
    (:naming mailsync-syncers--naming-p "`utf-8' or `imap'")
    (:separator mailsync-syncers--string-p "a string")
    (:prefix mailsync-syncers--string-p "a string")
    (:all-args mailsync-syncers--strings-p "a list of strings")
    (:per-folder booleanp "t or nil")
    (:pulls-only booleanp "t or nil")
    (:per-run booleanp "t or nil"))
  "Keys of a description: a predicate and what it wants, in words.")

(defconst mailsync-syncers--own-keys
  '((mailsync-mbsync
     :config :args :executable :environment :directory :timeout)
    (mailsync-offlineimap
     :config :args :executable :environment :directory :timeout
     :persistent :idle :quit)
    (mailsync-worker
     :idle :quit :command :program :target :config :args :executable
     :all-args :naming :separator :prefix :per-folder :pulls-only
     :environment :directory :input :timeout :success)
    (mailsync-command
     :all-args :naming :separator :prefix :per-folder :pulls-only
     :environment :directory :input :timeout :success :per-run))
  "The keys that each of our functions is meant to be given.")

;;;; The functions

(defun mailsync-syncers--split (function args)
  "Split ARGS of FUNCTION into strings and the plist that follows them.
The folders of a run, which come first, are the module's business.  A key that
nobody has is refused here, where it is known which ones were meant."
  (let ((rest (if (eq (car args) :folders) (cddr args) args))
        strings)
    (while (and rest (not (keywordp (car rest))))
      (push (pop rest) strings))
    (pcase-dolist (`(,key) (seq-partition rest 2))
      (unless (assq key mailsync-syncers--keys)
        (signal 'mailsync-syncer-error
                (list (format-message
                       "there is no key %S; the keys of `%s' are %s" key function
                       (mapconcat #'symbol-name
                                  (cdr (assq function mailsync-syncers--own-keys))
                                  " "))))))
    (cons (nreverse strings) rest)))

(defun mailsync-mbsync (_account &rest args)
  "Sync by mbsync.
ARGS are the channel or group to sync, as mbsync's configuration names it
\(without it all of them are synced), and then keys and values: `:config', the
configuration file, where it is not mbsync's usual one; `:args', a list of
further options; `:executable', the program, where it is not \"mbsync\"; and
`:environment', `:directory' and `:timeout' as for `mailsync-command'."
  (pcase-let ((`(,strings . ,keys) (mailsync-syncers--split 'mailsync-mbsync args)))
    (when (cdr strings)
      (signal 'mailsync-syncer-error
              (list (format-message
                     "`mailsync-mbsync' takes one channel or group"))))
    (append (list :program 'mbsync :target (car strings)) keys)))

(defun mailsync-offlineimap (_account &rest args)
  "Sync by OfflineIMAP.
ARGS are the account to sync, as OfflineIMAP's configuration names it, and
then keys and values as for `mailsync-mbsync'.  With `:persistent' t a worker
keeps OfflineIMAP and its connection, so that a sync costs neither a new
process nor a new login; `:idle' and `:quit' are those of `mailsync-worker'.
Where that worker cannot do it, OfflineIMAP is run as without it."
  (pcase-let ((`(,strings . ,keys) (mailsync-syncers--split 'mailsync-offlineimap args)))
    (unless (and strings (null (cdr strings)))
      (signal 'mailsync-syncer-error
              (list (format-message
                     "`mailsync-offlineimap' takes the name of one account"))))
    (append (list :program 'offlineimap :target (car strings))
            (when (eq (plist-get keys :persistent) t)
              (list :worker (mailsync-syncers--offlineimap-worker
                             (car strings) keys)
                    :naming 'imap))
            keys)))

(defconst mailsync-syncers--directory
  (file-name-directory (or load-file-name (locate-library "mailsync-syncers")
                           buffer-file-name default-directory))
  "Where this file and the worker for OfflineIMAP are.")

(defun mailsync-syncers--offlineimap-worker (account keys)
  "The command of the worker for OfflineIMAP's ACCOUNT, described by KEYS."
  (let ((config (plist-get keys :config)))
    `("python3" ,(expand-file-name "mailsync-offlineimap-worker.py"
                                   mailsync-syncers--directory)
      ,account
      ,@(plist-get keys :args)
      ,@(and (mailsync-syncers--file-p config)
             (list "-c" (expand-file-name config "~/"))))))

(defun mailsync-worker (_account &rest args)
  "Sync by a long-running program.
ARGS are the program and its arguments, and then keys and values.  It is
started for the first sync, and then told by lines on its standard input what
to sync; the manual says which lines (\"Long-running syncers\").  The keys are
those of `mailsync-command', and

`:idle'     after so many seconds without a sync it is to close its
            connections (300)
`:quit'     after so many seconds it is to end (1800)
`:command'  a list of strings: what is run instead where the worker fails; or
            `:program', `:target' and so on, as `mailsync-mbsync' and
            `mailsync-offlineimap' return them"
  (pcase-let ((`(,strings . ,keys) (mailsync-syncers--split 'mailsync-worker args)))
    (append (list :worker strings) keys)))

(defun mailsync-command (_account &rest args)
  "Sync by any command.
ARGS are the program and its arguments, and then keys and values.  An
argument with \"%f\" stands for one argument a folder, one with \"%d\" for one
a directory; \"%F\" stands for all folders with commas between them, \"%a\"
for the account's name, \"%%\" for a percent sign.
When the whole account is to be synced, arguments with folders are left
out.  The keys:

`:all-args'     a list of arguments for the whole account instead
`:naming'       `utf-8' (the default) or `imap', for names in modified UTF-7
`:separator'    what stands between levels, by default \"/\"
`:prefix'       what goes before each folder but INBOX
`:per-folder'   nil if it always syncs the whole account
`:pulls-only'   t if it only fetches: local changes are no reason to run it
`:environment'  a list of \"NAME=VALUE\"
`:directory'    where it is run
`:input'        what it reads from its standard input
`:timeout'      it is ended when it is silent for so many seconds
`:success'      a list of exit codes that mean success, besides 0
`:per-run'      t if the function is to be called before each run (for
                functions of your own)"
  (pcase-let ((`(,strings . ,keys) (mailsync-syncers--split 'mailsync-command args)))
    (append (list :command strings) keys)))

;;;; Descriptions

(defun mailsync-syncers--string-p (value)
  "Non-nil if VALUE is a string that a program can be given."
  (and (stringp value) (not (string-search "\0" value))))

(defun mailsync-syncers--file-p (value)
  "Non-nil if VALUE may name a file of this machine.
To make another machine's absolute, Tramp would connect to it."
  (and (mailsync-syncers--string-p value) (not (mailsync--remote-file-p value))))

(defun mailsync-syncers--strings-p (value)
  "Non-nil if VALUE is a list of strings."
  (and (proper-list-p value) (seq-every-p #'mailsync-syncers--string-p value)))

(defun mailsync-syncers--words-p (value)
  "Non-nil if VALUE is a command."
  (and value (mailsync-syncers--strings-p value)
       (not (equal (car value) ""))
       (mailsync-syncers--file-p (car value))))

(defun mailsync-syncers--program-p (value)
  "Non-nil if VALUE is a program that we know more about."
  (memq value '(mbsync offlineimap)))

(defun mailsync-syncers--timeout-p (value)
  "Non-nil if VALUE is a time that one can wait."
  (and (numberp value) (< 0 value 1e9)))

(defun mailsync-syncers--codes-p (value)
  "Non-nil if VALUE is a list of exit codes."
  (and (proper-list-p value)
       (seq-every-p (lambda (code) (and (integerp code) (<= 0 code 255))) value)))

(defun mailsync-syncers--naming-p (value)
  "Non-nil if VALUE says how folders are named."
  (memq value '(utf-8 imap)))

(defun mailsync-syncers-wrong-key (plist keys)
  "The first key of PLIST that is not right according to KEYS, or nil.
KEYS is a list of (KEY PREDICATE WORDS), and a value of nil is right
everywhere.  Return (KEY . NAMES), where NAMES are those that there are, if
there is no such key, else (KEY VALUE WORDS)."
  (seq-some (pcase-lambda (`(,key ,value))
              (pcase (assq key keys)
                ('nil (cons key (mapconcat (lambda (entry)
                                             (symbol-name (car entry)))
                                           keys " ")))
                (`(,_ ,predicate ,words)
                 (and value (not (funcall predicate value))
                      (list key value words)))))
            (seq-partition plist 2)))

(defun mailsync-syncers--fault (plist)
  "What is wrong with PLIST, a description, in words, or nil."
  (if (not (and plist (proper-list-p plist) (zerop (% (length plist) 2))))
      (format "it returns %S, but has to return a list of strings, or keys and \
values" plist)
    (or (pcase (mailsync-syncers-wrong-key plist mailsync-syncers--keys)
          (`(,key . ,(and names (pred stringp)))
           (format "there is no key %S; the keys are %s" key names))
          (`(,key ,value ,wanted)
           (format-message (concat "%S is %S, but has to be " wanted)
                           key value)))
        (cond
         ((not (or (plist-get plist :command) (plist-get plist :program)
                   (plist-get plist :worker)))
          ":command is missing")
         ((and (plist-get plist :command) (plist-get plist :program))
          ":command and :program exclude each other: leave one out (the file of \
the program is :executable)")
         ((and (plist-get plist :worker) (plist-get plist :per-run))
          ":worker and :per-run exclude each other: leave one out")
         ((and (eq (plist-get plist :program) 'offlineimap)
               (not (plist-get plist :target)))
          ":target, an account of OfflineIMAP, is missing")))))

(defun mailsync-syncers--call (account syncer extra)
  "What SYNCER, a function or a list, returns for ACCOUNT.
EXTRA are arguments that go before its own."
  (let* ((listed (and (consp syncer) (not (functionp syncer))))
         (function (if listed (car syncer) syncer))
         (args (and listed (cdr syncer))))
    (unless (functionp function)
      (signal 'mailsync-syncer-error
              (list (format-message "there is no function `%S'" function))))
    (apply #'mailsync--let-quit function account (append extra args nil))))

(defun mailsync-syncers-describe (account syncer &optional folders per-run)
  "Have SYNCER describe how ACCOUNT is synced; return (VECTOR . TIMEOUT).
SYNCER is what the key `:syncer' of an account is.  VECTOR is what the module
wants; TIMEOUT is a number of seconds, or nil.  With PER-RUN non-nil, the
description is for one run over FOLDERS, nil for everything.  What is wrong is
a `mailsync-syncer-error' whose data is one sentence."
  (let* ((extra (and per-run (list :folders folders)))
         (returned
          (condition-case err
              (mailsync-syncers--call account syncer extra)
            (mailsync-syncer-error
             (mailsync-syncers--refuse account syncer (cadr err)))
            (quit
             (mailsync-syncers--refuse account syncer "it signals: Quit"
                                       'mailsync-syncer-quit))
            (t
             (mailsync-syncers--refuse account syncer
                                       (format "it signals: %s"
                                               (error-message-string err))))))
         (plist (if (and (consp returned) (stringp (car returned)))
                    (list :command returned)
                  returned)))
    (when-let ((fault (mailsync-syncers--fault plist)))
      (mailsync-syncers--refuse account syncer fault))
    (cons (mailsync-syncers--vector plist per-run) (plist-get plist :timeout))))

(defun mailsync-syncers--refuse (account syncer why &optional condition)
  "Signal that SYNCER of ACCOUNT cannot be used, and WHY.
CONDITION is what is signaled, `mailsync-syncer-error' by default."
  (signal (or condition 'mailsync-syncer-error)
          (list (format "account \"%s\", :syncer %s: %s" account
                        (cond
                         ((symbolp syncer) syncer)
                         ((and (consp syncer) (symbolp (car syncer))
                               (not (functionp syncer)))
                          (car syncer))
                         (t "(a function)"))
                        why))))

(defun mailsync-syncers--vector (plist per-run)
  "PLIST, a description that is right, as the module wants it.
PER-RUN non-nil means that it was asked for one run."
  (let* ((program (plist-get plist :program))
         (text (lambda (key)
                 (and (plist-get plist key)
                      (mailsync-pipe-encode-text (plist-get plist key)))))
         (texts (lambda (key)
                  (vconcat (mapcar #'mailsync-pipe-encode-text
                                   (plist-get plist key)))))
         (file (lambda (key)
                 (and (plist-get plist key)
                      (mailsync-syncers--file (plist-get plist key))))))
    (vector (cond (program (symbol-name program))
                  ((plist-get plist :command) "command")
                  (t "worker"))
            (cond
             ((not (or program (plist-get plist :command))) ["worker"])
             ((null program)
              (vconcat (cons (mailsync-syncers--executable
                              (car (plist-get plist :command)))
                             (mapcar #'mailsync-pipe-encode-text
                                     (cdr (plist-get plist :command))))))
             (t (vector (mailsync-syncers--executable
                         (or (plist-get plist :executable)
                             (symbol-name program))))))
            (and (plist-member plist :all-args) (funcall texts :all-args))
            (funcall text :target)
            (funcall file :config)
            (funcall texts :args)
            (mailsync-syncers--search)
            (mailsync-syncers--environment (plist-get plist :environment))
            (funcall file :directory)
            (or (funcall text :input) "")
            (vconcat (plist-get plist :success))
            (symbol-name (or (plist-get plist :naming) 'utf-8))
            (funcall text :separator)
            (funcall text :prefix)
            (and (plist-get plist :pulls-only) t)
            (and (or per-run (plist-get plist :per-run)) t)
            (and (if (plist-member plist :per-folder)
                     (plist-get plist :per-folder)
                   t)
                 t)
            (and (plist-get plist :worker)
                 (vconcat (cons (mailsync-syncers--executable
                                 (car (plist-get plist :worker)))
                                (mapcar #'mailsync-pipe-encode-text
                                        (cdr (plist-get plist :worker))))))
            (float (or (plist-get plist :idle) 300))
            (float (or (plist-get plist :quit) 1800)))))

(defun mailsync-syncers--executable (name)
  "The program NAME; one with a slash is a file name."
  (if (string-search "/" name)
      (mailsync-syncers--file name)
    (mailsync-pipe-encode name)))

(defun mailsync-syncers--file (name)
  "NAME, a file name, as the module wants it.
Whatever buffer is current, a relative one is below the home directory."
  (mailsync-pipe-encode (expand-file-name name "~/")))

(defun mailsync-syncers--search ()
  "Where programs are looked for, as the module wants it."
  (vconcat (mapcar #'mailsync-syncers--file
                   (seq-filter #'mailsync-syncers--file-p
                               (default-value 'exec-path)))))

(defun mailsync-syncers--environment (first)
  "The environment of a syncer: FIRST, then that of Emacs.
The first entry for a name counts; one without a value is none."
  (let ((seen (make-hash-table :test #'equal))
        entries)
    (dolist (entry (append first
                           (seq-filter #'mailsync-syncers--string-p
                                       (default-value 'process-environment))))
      (let ((name (car (split-string entry "="))))
        (unless (gethash name seen)
          (puthash name t seen)
          (when (string-search "=" entry)
            (push (mailsync-pipe-encode entry) entries)))))
    (vconcat (nreverse entries))))

(provide 'mailsync-syncers)
;;; mailsync-syncers.el ends here
