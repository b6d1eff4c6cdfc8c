;;; mailsync-sync.el --- Syncs: commands, hooks, what became of them  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When an account is synced, the module decides; how, its syncer
;; (mailsync-syncers.el).  Here are the commands that ask for a sync or forbid
;; it, the hooks around one, and who else is to know what became of it.  What
;; the user is told of it is mailsync-sync-say.el's business.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-options)
(require 'mailsync-accounts)
(require 'mailsync-history)
(require 'mailsync-pipe)
(require 'mailsync-imap)
(require 'mailsync-remote)
(require 'mailsync-syncers)
(require 'mailsync-sync-say)

;;;; Internal variables

(defvar mailsync-sync--states nil
  "Alist from accounts to what their syncs are doing.
Each is a plist `:phase' `:paused' `:pending' `:progress' `:text' `:told'.")

(defvar mailsync-sync--results (make-hash-table :test #'equal)
  "Hash table from accounts to the result of their last sync.")

(defvar mailsync-sync--begun (make-hash-table :test #'equal)
  "Hash table from accounts whose sync has begun to (TIME . FOLDERS).")

(defvar mailsync-sync--requests (make-hash-table)
  "Hash table from numbers of requests to functions that get the result.")

(defvar mailsync-sync--request 0
  "The number of the last request.")

(defvar mailsync-sync--syncers (make-hash-table :test #'equal)
  "Hash table of the syncers that belong to no account, while they run.
From keys to (SYNCER . REQUESTS), the numbers of those that wait for them.")

(defvar mailsync-sync--folders (make-hash-table :test #'equal)
  "Hash table from accounts to tables of folders that were heard of.")

(defvar mailsync-sync--alone nil
  "Requests for which an engine without accounts was started.")

;;;; Declarations

(defvar mailsync-mode)
(defvar mailsync--running)
(declare-function mailsync--call "mailsync-dispatch")
(declare-function mailsync--guarded "mailsync-dispatch"
                  (running function &rest args))
(declare-function mailsync--start-alone "mailsync-life")
(declare-function mailsync--stop "mailsync-life")
(declare-function mailsync-status-update "mailsync-status")
(declare-function mailsync-module--pause "ext:mailsync-engine")
(declare-function mailsync-module--planned "ext:mailsync-engine")
(declare-function mailsync-module--run "ext:mailsync-engine")
(declare-function mailsync-module--sync "ext:mailsync-engine")

;;;; Accounts

(defun mailsync-sync--accounts ()
  "Names of the accounts that have a syncer that can be used."
  (mapcar #'car mailsync-sync--states))

(defun mailsync-sync--need (account)
  "Signal an error unless ACCOUNT can be synced; nil stands for all."
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (unless (if account (mailsync-sync-state account) mailsync-sync--states)
    (pcase-let ((`(,name . ,reason)
                 (if account
                     (assoc account mailsync-accounts--reasons)
                   (car (last mailsync-accounts--reasons)))))
      (cond
       (reason
        (user-error "The account %S is left out of syncs: %s; mend \
`mailsync-accounts', then M-x mailsync-restart" name reason))
       ((null account)
        (user-error "No account has a :syncer; see `mailsync-accounts'"))
       ((member account (mailsync--account-names))
        (user-error "The account %S has no :syncer" account))
       (t
        (user-error "There is no account %S" account))))))

(defun mailsync-sync--read-account (prompt &optional others)
  "Ask for an account, or for one of OTHERS, unless there is only one.
PROMPT is without a colon; empty input is the first one."
  (let* ((all (delete-dups (append (mailsync-sync--accounts) others nil)))
         (first (car all)))
    (if (cdr all)
        (completing-read (format-prompt prompt first) all nil t nil nil first)
      first)))

(defun mailsync-sync--encode-folders (folders)
  "FOLDERS, canonical names, as the module wants them."
  (and folders (vconcat (mapcar #'mailsync-pipe-encode-text folders))))

(defun mailsync-sync--ask-back (callback account)
  "A number for a request whose result CALLBACK gets; 0 if that is nil.
If it is t, the user is told what became of ACCOUNT."
  (if (null callback)
      0
    (setq mailsync-sync--request (1+ mailsync-sync--request))
    (puthash mailsync-sync--request
             (if (eq callback t) (mailsync-sync--wished account) callback)
             mailsync-sync--requests)
    mailsync-sync--request))

;;;; Commands

;;;###autoload
(defun mailsync-sync (&optional account folders callback)
  "Sync FOLDERS of ACCOUNT now; all of it, or of all accounts, if they are nil.
No delay is waited for, but a sync that is going on.  Interactively, ask for
the account and for a folder, where empty input means all of them; with a
prefix argument sync everything.  CALLBACK is called with the result, as
`mailsync-after-sync-functions' get it, once for each account; if it is t, as
it is interactively, the echo area says how it went."
  (interactive
   (progn
     (mailsync-sync--need nil)
     (if current-prefix-arg
         (list nil nil t)
       (let ((account (mailsync-sync--read-account "Sync account")))
         (list account
               (let ((folder (completing-read
                              (format "Sync folder of %s (all): " account)
                              (mailsync-sync--known-folders account))))
                 (and (not (equal folder "")) (list folder)))
               t)))))
  (mailsync-sync--need account)
  (dolist (name (if account (list account) (mailsync-sync--accounts)))
    (mailsync--call #'mailsync-module--sync
                    (mailsync-pipe-encode-text name)
                    (mailsync-sync--encode-folders folders)
                    (mailsync-sync--ask-back callback name))
    (let ((sync (mailsync-sync-state name)))
      (cond
       ;; A pause with a text is a server's refusal, which a wish ends.
       ((and (plist-get sync :paused)
             (member (plist-get sync :text) '(nil "")))
        (mailsync--say "\"%s\" is paused; M-x mailsync-resume lets it sync" name))
       ((eq (plist-get sync :phase) 'elsewhere)
        (mailsync--say "\"%s\" is %s" name (mailsync-sync--elsewhere sync)))))))

(defun mailsync-sync-state (account)
  "What the syncs of ACCOUNT are doing, a plist; nil if it is not synced."
  (alist-get account mailsync-sync--states nil nil #'equal))

(defun mailsync-sync-heard-of (account folders)
  "Remember that ACCOUNT has FOLDERS, for completion."
  (when folders
    (let ((known (or (gethash account mailsync-sync--folders)
                     (puthash account (make-hash-table :test #'equal)
                              mailsync-sync--folders))))
      (dolist (folder folders)
        (puthash folder t known)))))

(defun mailsync-sync-heard-of-changes (account changes)
  "Remember which folders ACCOUNT has after CHANGES, for completion."
  (dolist (change changes)
    (let ((kinds (plist-get change :kinds))
          (folder (plist-get change :folder)))
      (if (and (memq 'folder-deleted kinds) (not (memq 'folder-created kinds)))
          (when-let ((known (gethash account mailsync-sync--folders)))
            (remhash folder known))
        (mailsync-sync-heard-of account (list folder))))))

(defun mailsync-sync--known-folders (account)
  "Folders of ACCOUNT that were heard of, or that its groups are given for."
  (let ((heard (gethash account mailsync-sync--folders))
        (groups (mailsync-account-get account :gnus-groups)))
    (delete-dups (append (and heard (hash-table-keys heard))
                         (unless (functionp groups)
                           (mapcar #'car groups))))))

;;;###autoload
(defun mailsync-pause (&optional account)
  "Let no sync of ACCOUNT start, or of any account if it is nil.
One that is going on ends as usual; watching and checking go on.
Interactively, a prefix argument asks for the account."
  (interactive (list (and current-prefix-arg
                          (mailsync-sync--read-account "Pause account"))))
  (mailsync-sync--pause account t)
  (when (called-interactively-p 'any)
    (mailsync--say "%s paused; M-x mailsync-resume ends that"
                   (if account (format "\"%s\" is" account) "all syncs are"))))

;;;###autoload
(defun mailsync-resume (&optional account)
  "Let syncs of ACCOUNT start again, or of all accounts if it is nil.
What watches a server, and has given up, is tried again.
Interactively, a prefix argument asks for the account."
  (interactive (list (and current-prefix-arg
                          (mailsync-sync--read-account
                           "Resume account" (mailsync-remote-paused-accounts)))))
  (when (called-interactively-p 'any)
    (mailsync-imap-resumed account))
  (mailsync-sync--pause account nil)
  (when (called-interactively-p 'any)
    (mailsync--say "%s synced again" (if account (format "\"%s\" is" account)
                                      "all accounts are"))))

(defun mailsync-sync--pause (account flag)
  "Pause ACCOUNT, or all, if FLAG is non-nil; resume otherwise."
  ;; What watches a server may have to be resumed where nothing is synced.
  (unless (and (not flag) mailsync-mode (mailsync-remote-paused-p account))
    (mailsync-sync--need account))
  (mailsync--call #'mailsync-module--pause
                  (and account (mailsync-pipe-encode-text account))
                  (and flag t)))

;;;###autoload
(defun mailsync-run (syncer-or-account &optional folders callback)
  "Run SYNCER-OR-ACCOUNT for FOLDERS, nil for all; return at once.
It is the name of an account, or a syncer as the key `:syncer' of an account
has it, which needs no account and no `mailsync-mode'.  CALLBACK is called
with the result, as `mailsync-after-sync-functions' get it; if it is t, the
echo area says how it went.  What a syncer that is no account's has printed is
kept for the last few of them."
  (let ((account (if (stringp syncer-or-account)
                     syncer-or-account
                   (and mailsync-mode
                        (car (seq-find (lambda (account)
                                         (equal (plist-get (cdr account) :syncer)
                                                syncer-or-account))
                                       mailsync-accounts--valid))))))
    (if account
        (mailsync-sync account folders callback)
      (mailsync-sync--run-alone syncer-or-account folders callback))
    nil))

(defun mailsync-sync--run-alone (syncer folders callback)
  "Run SYNCER, which belongs to no account, for FOLDERS.
CALLBACK gets the result."
  ;; Before anything was started, none of it is loaded.
  (require 'mailsync-life)
  (let* ((key (mailsync-sync--key syncer))
         (described (mailsync-syncers-describe key syncer))
         (alone (not mailsync--running)))
    (when alone
      (mailsync--start-alone))
    (let ((request (mailsync-sync--ask-back (or callback #'ignore) key)))
      (push request (cdr (or (gethash key mailsync-sync--syncers)
                             (puthash key (list syncer)
                                      mailsync-sync--syncers))))
      (when (or alone mailsync-sync--alone)
        (push request mailsync-sync--alone))
      (mailsync--call #'mailsync-module--run
                      (mailsync-pipe-encode-text key)
                      (car described)
                      (mailsync-sync--encode-folders folders)
                      request
                      (float (or (cdr described)
                                 (mailsync-account-get nil :sync-timeout)))))))

(defun mailsync-sync--key (syncer)
  "A name for SYNCER, which belongs to no account; of equal ones the same.
How it is written, if it can be read; a number if it is a function without a
name, whose text may be long."
  (let ((print-circle t)
        (form (if (or (functionp syncer) (not (consp syncer)))
                  (list syncer)
                syncer)))
    (if (symbolp (car form))
        (format "%S" form)
      (let ((number 1) key known)
        (while (and (setq key (format "function %d" number)
                          known (gethash key mailsync-sync--syncers))
                    (not (equal (car known) syncer)))
          (setq number (1+ number)))
        key))))

(defun mailsync-sync--run-done (key requests)
  "REQUESTS of the syncer KEY are answered; forget it if nobody else waits."
  (when-let ((known (gethash key mailsync-sync--syncers)))
    (setcdr known (seq-difference (cdr known) requests #'eql))
    (unless (cdr known)
      (remhash key mailsync-sync--syncers))))

(defun mailsync-sync--alone-done (request)
  "REQUEST is answered; an engine that ran only for such ones ends."
  (when (memq request mailsync-sync--alone)
    (setq mailsync-sync--alone (delq request mailsync-sync--alone))
    (unless (or mailsync-sync--alone mailsync-mode)
      (mailsync--stop))))

;;;; What the module tells

(defun mailsync-sync-notice (record)
  "See to RECORD from the pipe, if it is about syncs; return non-nil then."
  (pcase record
    (`("sync" . ,fields)
     (apply #'mailsync-sync--state (mapcar #'mailsync-pipe-decode-text fields))
     t)
    (`("syncing" ,account ,_run ,total ,_n . ,folders)
     (mailsync-sync--begins (mailsync-pipe-decode-text account)
                            (string-to-number total)
                            (mapcar #'mailsync-pipe-decode-text folders))
     t)
    (`("plan" ,account ,run ,_n . ,folders)
     (mailsync-sync--plan (mailsync-pipe-decode-text account)
                          (string-to-number run)
                          (mapcar #'mailsync-pipe-decode-text folders))
     t)
    (`("synced" . ,_)
     (mailsync-sync--done record)
     t)))

(defun mailsync-sync--begins (account total folders)
  "A sync of ACCOUNT over TOTAL folders begins; FOLDERS are some or all of them."
  (when (mailsync-sync-state account)
    (mailsync-sync-heard-of account folders))
  (puthash account (cons (current-time) folders) mailsync-sync--begun)
  (mailsync-log-add 'info "%s: syncing %s" account
                    (mailsync-sync--names total folders))
  (mailsync--run-hook-safely 'mailsync-before-sync-functions account folders))

(defun mailsync-sync--done (record)
  "A sync has ended; see to its RECORD."
  (pcase-let* ((`(,_ ,account ,_run ,status ,exit ,started ,duration ,requests
                     ,text ,first ,dropped ,last ,total ,_n . ,folders)
                record)
               (account (mailsync-pipe-decode-text account))
               (text (mailsync-pipe-decode-text text))
               (folders (mapcar #'mailsync-pipe-decode-text folders))
               (result (list :status (intern status)
                             :exit-code (and (not (equal exit ""))
                                             (string-to-number exit))
                             :folders folders
                             :started (seconds-to-time
                                       (string-to-number started))
                             :duration (string-to-number duration)
                             :text text)))
    (remhash account mailsync-sync--begun)
    (setq result (plist-put result :output-buffer
                            (mailsync-sync--keep-output account result first
                                                        dropped last)))
    (when (mailsync-sync-state account)
      (puthash account result mailsync-sync--results)
      (mailsync--guarded mailsync--running #'mailsync-history-synced
                         account result (string-to-number total)))
    (mailsync-sync--log account result (string-to-number total))
    (mailsync-sync--say-failing account)
    (setq requests (mapcar #'string-to-number (split-string requests)))
    (mailsync-sync--run-done account requests)
    (mailsync-sync--each
     `(,(lambda ()
          (mailsync--run-hook-safely 'mailsync-after-sync-functions account result))
       ,@(mapcar (lambda (request)
                   (lambda () (mailsync-sync--answer-request request result)))
                 requests)
       mailsync-status-update))))

(defun mailsync-sync--answer-request (request result)
  "Call the function that waits for RESULT by the number REQUEST, if there is one."
  (let ((callback (gethash request mailsync-sync--requests)))
    (remhash request mailsync-sync--requests)
    (unwind-protect
        (when callback
          (mailsync-sync--answer callback result))
      (mailsync-sync--alone-done request))))

(defun mailsync-sync--answer (callback result)
  "Call CALLBACK with RESULT, whatever comes of that."
  (condition-case err
      (mailsync--let-quit callback result)
    (t
     (mailsync--once (list 'callback callback) 'error
                     "the callback of a sync signals: %s"
                     (error-message-string err)))))

(defun mailsync-sync--state (account phase paused pending progress text)
  "The syncs of ACCOUNT are in PHASE; PENDING folders wait.
PAUSED is \"t\" if no other one starts.  PROGRESS messages came by the
sync that is going on; TEXT is for the user."
  (let* ((known (assoc account mailsync-sync--states))
         (old (plist-get (cdr known) :phase))
         (phase (intern phase)))
    ;; One that was given up meanwhile is nobody's.
    (when known
      (setcdr known (list :phase phase
                          :paused (equal paused "t")
                          :pending (if (equal pending "all") 'all
                                     (string-to-number pending))
                          :progress (string-to-number progress)
                          :text text
                          :told (plist-get (cdr known) :told)))
      (mailsync-sync--say account old phase text)
      (mailsync-status-update))))

(defun mailsync-sync--plan (account run folders)
  "Say how ACCOUNT is synced in RUN over FOLDERS, nil for everything."
  (when-let ((syncer (or (mailsync-account-get account :syncer)
                         (car (gethash account mailsync-sync--syncers)))))
    (mailsync--call
     #'mailsync-module--planned
     (mailsync-pipe-encode-text account) run
     (condition-case err
         (car (mailsync-accounts-describe account syncer folders t))
       (t
        (mailsync-sync--no-plan account
                                (if (eq (car err) 'mailsync-syncer-error)
                                    (cadr err)
                                  (error-message-string err)))
        nil)))))

(defun mailsync-sync-keep (accounts)
  "From now on ACCOUNTS are synced, as far as they have a syncer.
They are a vector as the module wants it."
  (let ((names (delq nil (mapcar (lambda (account)
                                   (and (aref account 4)
                                        (mailsync-pipe-decode-text (aref account 0))))
                                 accounts))))
    (setq mailsync-sync--states
          (mapcar (lambda (name)
                    (or (assoc name mailsync-sync--states)
                        (list name :phase 'idle :paused nil :pending 0
                              :progress 0
                              :text "" :told nil)))
                  names))
    (dolist (table (list mailsync-sync--results mailsync-sync--folders
                         mailsync-sync--told-times))
      (dolist (name (hash-table-keys table))
        (unless (member name names)
          (remhash name table))))))

(defun mailsync-sync-forget (why)
  "Nothing is synced any more, and WHY; those who wait for a result are told.
So are the hooks, of syncs that had begun."
  (let ((requests (hash-table-values mailsync-sync--requests))
        begun)
    (maphash (lambda (account it) (push (cons account it) begun))
             mailsync-sync--begun)
    (setq mailsync-sync--states nil
          mailsync-sync--alone nil)
    (mapc #'clrhash (list mailsync-sync--syncers mailsync-sync--begun
                          mailsync-sync--told-times
                          mailsync-sync--results
                          mailsync-sync--requests mailsync-sync--folders))
    (mailsync-sync--each
     (append
      (mapcar (pcase-lambda (`(,account ,time . ,folders))
                (lambda ()
                  (mailsync--run-hook-safely
                   'mailsync-after-sync-functions account
                   (mailsync-sync--cut-off why time folders))))
              (nreverse begun))
      (mapcar (lambda (callback)
                (lambda ()
                  (mailsync-sync--answer
                   callback (mailsync-sync--cut-off why (current-time) nil))))
              requests)))))

(defun mailsync-sync--each (functions)
  "Call each of FUNCTIONS, even if one throws."
  (when functions
    (unwind-protect
        (funcall (car functions))
      (mailsync-sync--each (cdr functions)))))

(defun mailsync-sync--cut-off (why time folders)
  "The result of a sync of FOLDERS that began at TIME and was ended, and WHY."
  (list :status 'interrupted :exit-code nil :folders folders :started time
        :duration (float-time (time-since time)) :text why :output-buffer nil))

(provide 'mailsync-sync)
;;; mailsync-sync.el ends here
