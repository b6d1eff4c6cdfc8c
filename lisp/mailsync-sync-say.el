;;; mailsync-sync-say.el --- What the user is told of syncs  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer with what a syncer printed, the lines in the log, and what the
;; echo area says: once, when something has changed for better or worse, and
;; how it went when the user asked for a sync.

;;; Code:

(require 'seq)
(require 'mailsync-log)
(require 'mailsync-pipe)

;;;; Internal variables

(defvar mailsync-sync--told-times (make-hash-table :test #'equal)
  "Hash table from accounts to when the user was last told of their syncs.")

(defvar mailsync-sync--outputs nil
  "Buffers with the output of syncers that are no account's, newest first.")

(defconst mailsync-sync--outputs-kept 5
  "How many such buffers are kept, besides those that a window shows.")

(defconst mailsync-sync--wish-delay 0.3
  "Seconds from a wish's end to its line in the echo area.
Meanwhile the state of its account may have said the same, and what to do.")

;;;; Declarations

(defvar mailsync-sync--results)
(defvar mailsync-sync--states)
(declare-function mailsync-sync--need "mailsync-sync" (account))
(declare-function mailsync-sync--read-account "mailsync-sync"
                  (prompt &optional others))
(declare-function mailsync-sync-state "mailsync-sync" (account))

;;;; The output

(defvar-local mailsync-sync--output-account nil
  "The account whose output the buffer shows.")

(defvar-local mailsync-sync--output-time nil
  "When the sync began whose output the buffer shows.")

(define-derived-mode mailsync-output-mode special-mode "Mailsync-Output"
  "Major mode of buffers that show what a syncer printed."
  (buffer-disable-undo)
  (setq bidi-paragraph-direction 'left-to-right)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-sync--output-note))))

(defun mailsync-sync--output-name (account)
  "The name of the buffer with the last output of ACCOUNT."
  (format "*mailsync output: %s*" account))

;;;###autoload
(defun mailsync-output (account)
  "Show what the last sync of ACCOUNT printed, or the last that printed anything."
  (interactive (list (mailsync-sync--read-output)))
  (if-let ((buffer (get-buffer (mailsync-sync--output-name account))))
      (progn
        (with-current-buffer buffer
          (mailsync-sync--output-note))
        (display-buffer buffer))
    (mailsync-sync--need account)
    (message "mailsync: %s" (mailsync-sync--silence account))))

(defun mailsync-sync--read-output ()
  "Ask for an account, or a syncer without one, that may have printed something."
  (let ((others (mapcar (lambda (buffer)
                          (buffer-local-value 'mailsync-sync--output-account
                                              buffer))
                        (seq-filter #'buffer-live-p mailsync-sync--outputs))))
    ;; This may be the first command of all, and that file loads this one.
    (require 'mailsync-sync)
    (unless others
      (mailsync-sync--need nil))
    (mailsync-sync--read-account "Output of account" others)))

(defun mailsync-sync--silence (account)
  "Why there is nothing to show of what the syncer of ACCOUNT printed."
  (let ((result (gethash account mailsync-sync--results)))
    (cond
     ((eq (plist-get (mailsync-sync-state account) :phase) 'running)
      (format "\"%s\" is being synced; what that prints is there when it has ended"
              account))
     (result
      (format "the last sync of \"%s\", which began %s, printed nothing" account
              (mailsync-log-time (plist-get result :started))))
     (t (format "\"%s\" has not been synced since mailsync was started"
                account)))))

(defun mailsync-sync--output-note ()
  "Say at the top of this buffer if what it shows is not of the last sync."
  (let* ((result (gethash mailsync-sync--output-account mailsync-sync--results))
         (inhibit-read-only t)
         (end (next-single-property-change (point-min) 'mailsync-note nil
                                           (point-max))))
    (save-excursion
      (when (get-text-property (point-min) 'mailsync-note)
        (delete-region (point-min) end))
      (when (and result (time-less-p mailsync-sync--output-time
                                     (plist-get result :started)))
        (goto-char (point-min))
        (insert (propertize
                 (format "The last sync began %s, went well, and printed nothing.  \
Before:\n\n"
                         (mailsync-log-time (plist-get result :started)))
                 'mailsync-note t))))))

(defun mailsync-sync--keep-output (account result first dropped last)
  "Put what was printed in a sync of ACCOUNT into its buffer; return that.
It began with FIRST, ended with LAST, and DROPPED bytes were left out
between; RESULT is what became of it.  Return nil if there is nothing to show."
  (unless (and (equal first "") (equal last "")
               (eq (plist-get result :status) 'ok))
    (with-current-buffer (get-buffer-create
                          (mailsync-sync--output-name account))
      (let ((inhibit-read-only t))
        (erase-buffer)
        (unless (derived-mode-p 'mailsync-output-mode)
          (mailsync-output-mode))
        (setq mailsync-sync--output-account account
              mailsync-sync--output-time (plist-get result :started))
        (insert (format-time-string "%F %T, " (plist-get result :started))
                account ": " (symbol-name (plist-get result :status))
                (if-let ((code (plist-get result :exit-code)))
                    (format ", exit code %d" code)
                  "")
                "\n")
        (unless (equal (plist-get result :text) "")
          (insert (plist-get result :text) "\n"))
        (insert "\n" (if (and (equal first "") (equal last ""))
                         "It printed nothing.\n"
                       (mailsync-pipe-decode-text first)))
        (unless (equal dropped "0")
          (insert (format "\n[... %s bytes left out ...]\n" dropped)))
        (insert (mailsync-pipe-decode-text last))
        (mailsync-log-clean-buffer)
        (goto-char (point-min)))
      (unless (mailsync-sync-state account)
        (mailsync-sync--keep-few (current-buffer)))
      (current-buffer))))

(defun mailsync-sync--keep-few (buffer)
  "Keep BUFFER and a few other ones that belong to no account."
  (setq mailsync-sync--outputs
        (cons buffer (seq-filter #'buffer-live-p
                                 (delq buffer mailsync-sync--outputs))))
  (dolist (old (nthcdr mailsync-sync--outputs-kept mailsync-sync--outputs))
    (unless (get-buffer-window old t)
      (setq mailsync-sync--outputs (delq old mailsync-sync--outputs))
      (kill-buffer old))))

;;;; In words

(defun mailsync-sync--names (total folders)
  "TOTAL folders, among them FOLDERS, in words."
  (cond
   ((zerop total) "everything")
   ((> total 5)
    (format "%d folders" total))
   (t (mapconcat #'identity folders ", "))))

(defun mailsync-sync--elsewhere (sync)
  "Who syncs instead of this Emacs, and until when, where SYNC, a plist, is so."
  (let ((text (plist-get sync :text)))
    (if (equal text (format "synced by pid %d" (emacs-pid)))
        ;; What had the lock before mailsync was stopped and started.
        "waiting for the end of the sync that was stopped"
      (concat text "; this Emacs syncs when that has ended"))))

(defun mailsync-sync--result (account result)
  "How a sync of ACCOUNT went that had this RESULT, in one line."
  (let ((text (car (split-string (plist-get result :text) "\n")))
        (folders (plist-get result :folders)))
    (pcase (plist-get result :status)
      ('ok (format "\"%s\": synced %s" account
                   (mailsync-sync--names (length folders) folders)))
      ('partial (format "\"%s\": synced, but for some: %s" account text))
      (status (format "\"%s\": not synced (%s)%s" account status
                      (if (equal text "") "" (concat ": " text)))))))

;;;; In the log and the echo area

(defun mailsync-sync--tell (account key level format &rest args)
  "Tell the user, once for KEY, of the syncs of ACCOUNT: FORMAT with ARGS.
LEVEL is as for `mailsync--once'."
  (unless (mailsync--said-p key)
    (mailsync-sync--note-told account)
    (apply #'mailsync--once key level format args)))

(defun mailsync-sync--note-told (account)
  "The user is told now of the syncs of ACCOUNT."
  ;; A run that is no account's is over, and has nothing else to say.
  (when (mailsync-sync-state account)
    (puthash account (float-time) mailsync-sync--told-times)))

(defun mailsync-sync--wished (account)
  "A function that says, with its result, how the wished sync of ACCOUNT went."
  (lambda (result)
    (run-at-time mailsync-sync--wish-delay nil #'mailsync-sync--say-result
                 account result)))

(defun mailsync-sync--say-result (account result)
  "Say that a sync of ACCOUNT ended with RESULT.
Nothing is said if the user heard of it otherwise since it began."
  (unless (> (gethash account mailsync-sync--told-times 0)
             (float-time (plist-get result :started)))
    (mailsync--say "%s" (mailsync-sync--result account result))))

(defun mailsync-sync--log (account result total)
  "Log the RESULT of a sync of ACCOUNT over TOTAL folders."
  (let ((status (plist-get result :status))
        (text (plist-get result :text))
        (names (mailsync-sync--names total (plist-get result :folders))))
    (pcase status
      ('ok
       (mailsync-log-add 'info "%s: synced %s in %.1f s" account names
                         (plist-get result :duration)))
      ;; A folder that keeps failing is said once.
      ('partial
       (if (mailsync--said-p (list 'partial account text))
           (mailsync-log-add 'info "%s: synced, but for some, in %.1f s" account
                             (plist-get result :duration))
         (mailsync-sync--tell account (list 'partial account text) 'warning
                              "\"%s\": synced, but for some: %s" account text)))
      (_ (mailsync-log-add 'warning "%s: sync of %s failed (%s)%s" account names
                           status
                           (if (equal text "") "" (concat ": " text)))))))

(defun mailsync-sync--say (account old phase text)
  "Tell the user, if it is news, that ACCOUNT went from OLD to PHASE, with TEXT."
  (let ((key (list 'sync account)))
    (pcase phase
      ('failing
       (mailsync-sync--say-failing account))
      ('paused
       (if (equal text "")
           (unless (eq old 'paused)
             (mailsync-log-add 'info "%s: paused" account))
         (mailsync-sync--tell
          account (cons 'paused key) 'error
          "\"%s\" is paused: %s; mend it, then M-x mailsync-resume"
          account text)))
      ('elsewhere
       (mailsync-sync--say-elsewhere account old text))
      ('idle
       (mailsync-sync--say-recovered account text)
       (mailsync--once-clear (cons 'paused key))
       ;; Folders that failed alone are in the text until they are synced.
       (when (equal text "")
         (mailsync-sync--new-again 'partial account)))
      ('pending
       ;; A try after the machine woke up has the trouble still in its text.
       (when (equal text "")
         (mailsync-sync--say-recovered account text))))
    (unless (memq phase '(elsewhere running))
      (mailsync-sync--new-again 'elsewhere account))
    (when (and (eq old 'paused) (not (eq phase 'paused)))
      (mailsync--once-clear (cons 'paused key))
      (mailsync-log-add 'info "%s: resumed" account))
    (mailsync-sync--tell-state account phase text)))

(defun mailsync-sync--say-failing (account)
  "If ACCOUNT cannot be synced, say why.
It is said once for each status that is new since it last went well, as soon
as both the state and the result have come, in whatever order.  The log has it
already, and will have the next one."
  (let ((state (mailsync-sync-state account))
        (result (gethash account mailsync-sync--results)))
    (when (and (eq (plist-get state :phase) 'failing)
               (equal (plist-get state :text) (plist-get result :text)))
      (mailsync-sync--tell account
                           (list 'failing account (plist-get result :status))
                           nil
                           "\"%s\" cannot be synced, and is tried again: %s"
                           account (plist-get state :text)))))

(defun mailsync-sync--say-recovered (account text)
  "ACCOUNT was synced, but for what TEXT says; say so if it had failed."
  (when (mailsync-sync--new-again 'failing account)
    (mailsync-log-add 'info "%s: can be synced again" account)
    (mailsync-sync--note-told account)
    (mailsync--say "\"%s\" can be synced again%s" account
                   (if (equal text "") "" (concat ", but for some: " text)))))

(defun mailsync-sync--new-again (kind account)
  "What was said of KIND of ACCOUNT is new; return it if there was any."
  (let ((keys (seq-filter (lambda (key)
                            (and (eq (car-safe key) kind)
                                 (equal (nth 1 key) account)))
                          mailsync--said)))
    (mapc #'mailsync--once-clear keys)
    keys))

(defun mailsync-sync--say-elsewhere (account old text)
  "Somebody else syncs ACCOUNT, which was in the phase OLD: TEXT says who.
The other Emacs that usually does it is in the log; what an Emacs has left
behind, which the user may have to end, is said."
  (let ((key (list 'elsewhere account text))
        (line (mailsync-sync--elsewhere (list :text text))))
    (cond
     ((mailsync--said-p key))
     ;; There is advice in it.
     ((string-search ";" text)
      (mailsync-sync--tell account key 'warning "\"%s\" is %s" account line))
     ((not (eq old 'elsewhere))
      (mailsync-log-add 'info "%s: %s" account line)))))

(defun mailsync-sync--tell-state (account phase text)
  "Tell the hook when ACCOUNT, in PHASE with TEXT, gets into trouble or out of it.
Another try is neither."
  (let* ((known (assoc account mailsync-sync--states))
         (told (plist-get (cdr known) :told))
         (new (pcase phase
                ((or 'paused 'failing) phase)
                ;; Nothing has gone right so far.
                ('running told)
                ('pending (and (not (equal text "")) told)))))
    (unless (eq told new)
      (plist-put (cdr known) :told new)
      (mailsync--run-hook-safely 'mailsync-state-change-functions account
                                 (or new 'watching)))))

(defun mailsync-sync--no-plan (account why)
  "The syncer of ACCOUNT did not say how to run it this time, and WHY.
The same is shown once, and is in the log each time."
  (let* ((key (list 'plan account why))
         (text (format "%s; mend that: this sync is of everything, by what the \
function said when the accounts were read" why)))
    (if (mailsync--said-p key)
        (mailsync-log-add 'warning "%s" text)
      (mailsync-sync--tell account key 'warning "%s" text))))

;;;; Words

(defun mailsync-sync-say-count (number one many)
  "NUMBER and what there is so many of, ONE or MANY."
  (format "%d %s" number (if (= number 1) one many)))

(defun mailsync-sync-say-phase (sync)
  "The phase of SYNC, a plist, in words."
  (pcase (plist-get sync :phase)
    ('idle "nothing to sync")
    ('pending (if (eq (plist-get sync :pending) 'all)
                  "everything is to be synced"
                (mailsync-sync-say-count (plist-get sync :pending)
                                        "folder is to be synced"
                                        "folders are to be synced")))
    ('running (concat (if (zerop (plist-get sync :progress))
                          "is being synced"
                        (format "is being synced, %s came so far"
                                (mailsync-sync-say-count
                                 (plist-get sync :progress)
                                 "message" "messages")))
                      (if (plist-get sync :paused) ", and then paused" "")))
    ('failing "cannot be synced, and is tried again")
    ('paused (if (equal (plist-get sync :text) "")
                 "paused until M-x mailsync-resume"
               "paused until you mend this, and M-x mailsync-resume"))
    ('elsewhere (mailsync-sync--elsewhere sync))))

(defun mailsync-sync-say-text (sync)
  "What the user should know of SYNC, a plist, besides its phase."
  (if (eq (plist-get sync :phase) 'elsewhere) "" (plist-get sync :text)))

(provide 'mailsync-sync-say)
;;; mailsync-sync-say.el ends here
