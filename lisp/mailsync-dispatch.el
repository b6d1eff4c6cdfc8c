;;; mailsync-dispatch.el --- From the module's pipe to the hooks  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What the engine says, and who is told: a change goes from the pipe's filter
;; to the hooks and to the check, a state to the mode line, an answer to whoever
;; asked.  Nothing but taking notes happens in the filter; a timer, as soon as
;; Emacs is at rest, does the rest.
;;
;; What a frame is, is mailsync-pipe.el's business; what a check is,
;; mailsync-gnus.el's; when it all begins and ends, mailsync-life.el's.

;;; Code:

(require 'seq)
(require 'mailsync-log)
(require 'mailsync-accounts)
(require 'mailsync-change)
(require 'mailsync-history)
(require 'mailsync-module)
(require 'mailsync-options)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-sync)

;;;; Internal variables

(defvar mailsync--pipe nil
  "The pipe process, or nil.")

(defvar mailsync--running nil
  "Non-nil between start and stop: a fresh cons for each start.")

(defvar mailsync--generation 0
  "Pipes made since the engine was started.")

(defvar mailsync--breaks nil
  "When pipes broke, newest first.")

(defvar mailsync--states nil
  "Alist from accounts to (STATE . TEXT).")

(defvar mailsync--troubles nil
  "Alist from accounts to the last thing that was wrong, (TIME . TEXT).")

(defvar mailsync--incoming nil
  "Hash table from (ACCOUNT . TRUENAME) to changes not dispatched yet.")

(defvar mailsync--incoming-notices nil
  "Other records not dispatched yet, newest first.")

(defvar mailsync--taken nil
  "What is being dispatched, lists of a function and its arguments, in order.")

(defvar mailsync--timer nil
  "The timer that dispatches, or nil.")

(defvar mailsync--batches (make-hash-table :test #'eq)
  "The checks that are not done, in the order in which they came.
A table from lists (ACCOUNT . CHANGES) to whether each has been asked for:
`waits' or `asked'.")

(defvar mailsync--unchecked (make-hash-table :test #'equal)
  "Hash table from (ACCOUNT . TRUENAME) to in how many checks it waits.")

(defvar mailsync--requests nil
  "Errands that are not done: alist from slots to (NUMBER CALLBACK . PARTS).")

(defvar mailsync--request 0
  "The number of the last request.")

(defvar mailsync--quit-timer nil
  "The timer that asks for the checks that the user has quit, or nil.")

(defvar mailsync--doubt-delay 2
  "Seconds after a quit until what should have come by then is missed.")

(defvar mailsync--doubt-timer nil
  "The timer that looks whether it has come, or nil.")

(defvar mailsync--skipped nil
  "Roots that were not checked since Gnus was starting: (ACCOUNT . DIRECTORY).
The directory is in bytes.")

(defvar mailsync--checking nil
  "Non-nil while a check waits for a server.")

;;;; Declarations

(defvar mailsync-mode)
(declare-function mailsync-gnus-check-changes "mailsync-gnus")
(declare-function mailsync-gnus-go-on "mailsync-gnus")
(declare-function mailsync-gnus-ready-p "mailsync-gnus-moment")
(declare-function mailsync--stop "mailsync-life")
(declare-function mailsync-status-update "mailsync-status")
(declare-function mailsync-module--attach "ext:mailsync-engine")
(declare-function mailsync-module--check "ext:mailsync-engine")
(declare-function mailsync-module--checked "ext:mailsync-engine")
(declare-function mailsync-module--resolve "ext:mailsync-engine")
(declare-function mailsync-module--status "ext:mailsync-engine")

;;;; The engine

(defun mailsync--call (function &rest args)
  "Call the module's FUNCTION with ARGS; an engine that ended is an error state."
  (condition-case err
      (apply function args)
    (error (mailsync--engine-ended (error-message-string err)) nil)))

(defun mailsync--engine-ended (why)
  "The engine has ended by itself: show WHY."
  (unless mailsync-mode
    ;; It ran a syncer of no account.
    (mailsync-log-add 'error "the engine ended: %s" why)
    (mailsync--stop))
  (dolist (account (mailsync--account-names))
    (mailsync--set-state account 'error
                         (let ((outdated (mailsync-module-outdated)))
                           (if outdated
                               (format "the engine ended (%s): %s; restart Emacs"
                                       why outdated)
                             (format "the engine ended (%s); M-x mailsync-restart \
starts it again, please report this" why))))))

;;;; The pipe

(defun mailsync--open-pipe (connect)
  "Open a pipe and call CONNECT with its process and generation."
  (mailsync-pipe-close-all)
  (let* ((generation (1+ mailsync--generation))
         (process (mailsync-pipe-open generation #'mailsync--receive
                                      #'mailsync--pipe-broke)))
    (setq mailsync--pipe process
          mailsync--generation generation)
    (condition-case err
        (funcall connect process generation)
      ((error quit)
       (mailsync-pipe-close process)
       (setq mailsync--pipe nil)
       (signal (car err) (cdr err))))))

(defun mailsync--pipe-broke (process why)
  "Open another pipe, since PROCESS, the last one, broke: WHY."
  (when (and mailsync--running (eq process mailsync--pipe))
    (mailsync-log-add 'warning "the pipe broke (%s); everything is checked" why)
    (unless (process-get process 'mailsync-quit)
      (push (float-time) mailsync--breaks))
    (let ((third (nth 2 mailsync--breaks)))
      (if (and third
               (not (process-get process 'mailsync-quit))
               (< (- (car mailsync--breaks) third) 10))
          ;; Whatever does this would do it for ever.
          (mailsync--engine-ended
           (format "its pipe broke three times in ten seconds, at last: %s" why))
        (setq mailsync--breaks (seq-take mailsync--breaks 3))
        (mailsync--call #'mailsync--open-pipe #'mailsync-module--attach)))))

(defun mailsync--receive (record)
  "Take note of RECORD and see to it later: this runs in a process filter."
  (if (equal (car record) "change")
      (let* ((change (mailsync-change-read record))
             (key (cons (plist-get change :account)
                        (plist-get change :truename)))
             (earlier (gethash key mailsync--incoming)))
        (puthash key (if earlier (mailsync-change-merge earlier change) change)
                 mailsync--incoming))
    (push record mailsync--incoming-notices))
  (mailsync--dispatch-soon))

(defun mailsync--dispatch-soon ()
  "See to what has been received as soon as Emacs is at rest."
  (unless (mailsync--armed-p mailsync--timer)
    (setq mailsync--timer (mailsync--soon #'mailsync--dispatch))))

;;;; Dispatch

(defun mailsync--dispatch ()
  "See to everything that has been received."
  (setq mailsync--timer nil)
  (mailsync--guarded mailsync--running #'mailsync--dispatch-all mailsync--running))

(defun mailsync--dispatch-all (running)
  "See to everything that has been received since the start RUNNING."
  (setq mailsync--taken
        (append mailsync--taken
                (mapcar (lambda (record) (list #'mailsync--notice record))
                        (nreverse (prog1 mailsync--incoming-notices
                                    (setq mailsync--incoming-notices nil))))
                (mapcar (lambda (group)
                          (list #'mailsync--changed (car group) (cdr group)))
                        (mailsync--take-incoming))))
  ;; Whatever a user's function does there, what was acknowledged is seen to.
  (unwind-protect
      (while (and mailsync--taken (eq running mailsync--running))
        (apply #'mailsync--guarded running (pop mailsync--taken)))
    ;; It may throw.
    (when (and mailsync--taken (eq running mailsync--running))
      (mailsync--dispatch-soon))))

(defun mailsync--guarded (running function &rest args)
  "Call FUNCTION with ARGS if this is still the start RUNNING.
An error is reported and stops nothing else."
  (when (and running (eq running mailsync--running))
    (condition-case err
        (apply function args)
      ;; Whatever it had begun, the next pipe brings all of it again.
      (quit
       (when (process-live-p mailsync--pipe)
         (mailsync-pipe-quit mailsync--pipe)))
      (t
       (mailsync--once (list function (car err)) 'error
                       "internal error in `%s': %s; please report this"
                       function (error-message-string err))))))

(defun mailsync--take-incoming ()
  "The changes received: an alist by account, in the order in which they came."
  (let (groups)
    (maphash (lambda (key change)
               (push change (alist-get (car key) groups nil nil #'equal)))
             mailsync--incoming)
    (clrhash mailsync--incoming)
    (mapcar (lambda (group) (cons (car group) (nreverse (cdr group))))
            (nreverse groups))))

(defun mailsync--changed (account changes)
  "Tell the hooks that ACCOUNT has CHANGES, then have those checked."
  (let ((running mailsync--running))
    ;; What was on its way when an account was given up is nobody's.
    (when (member account (mailsync--account-names))
      (unwind-protect
          (mailsync--run-hook-safely 'mailsync-changed-functions account changes)
        ;; A function may have stopped us, or started anew.
        (when (eq running mailsync--running)
          (mailsync-sync-heard-of-changes account changes)
          (mailsync--guarded running #'mailsync-history-changed account changes)
          (mailsync--have-checked account changes))))))

(defun mailsync--have-checked (account changes)
  "Have the CHANGES of ACCOUNT checked."
  (let ((batch (cons account changes)))
    (condition-case nil
        (progn
          (puthash batch 'waits mailsync--batches)
          (mailsync--count-unchecked changes 1)
          (mailsync--ask-check batch))
      (quit
       (setq inhibit-quit t)
       (puthash batch 'waits mailsync--batches)
       (mailsync--recount-unchecked)
       (mailsync--ask-again-later)))
    (mailsync-status-update)))

(defun mailsync--ask-check (batch)
  "Ask for the check of BATCH, unless it is done."
  (when (gethash batch mailsync--batches)
    (let ((thrown t))
      (unwind-protect
          (progn
            (mailsync--ask-check-now batch)
            (setq thrown nil))
        (when thrown
          (mailsync--checked batch nil nil))))))

(defun mailsync--ask-check-now (batch)
  "Call `mailsync-check-function' for BATCH."
  (condition-case err
      (progn
        (mailsync--let-quit mailsync-check-function (car batch) (cdr batch)
                            (lambda (results &optional brought)
                              (mailsync--undisturbed #'mailsync--checked batch
                                                     results brought)))
        (when (gethash batch mailsync--batches)
          (puthash batch 'asked mailsync--batches)))
    ;; What it was about is not forgotten for that.
    (quit
     (setq inhibit-quit t)
     (mailsync-log-add 'warning "`mailsync-check-function' (%s) was quit; \
it is called again in %s s"
                       (mailsync--function-name mailsync-check-function)
                       mailsync--quit-pause)
     (mailsync--ask-again-later))
    (t
     (mailsync--once (list 'check mailsync-check-function) 'error
                     "`mailsync-check-function' (%s) signals: %s"
                     (mailsync--function-name mailsync-check-function)
                     (error-message-string err))
     (mailsync--checked batch nil nil))))

(defun mailsync--checked (batch results brought)
  "The check of BATCH is done with RESULTS, and BROUGHT these changes."
  (when (gethash batch mailsync--batches)
    (condition-case nil
        (progn
          (remhash batch mailsync--batches)
          (mailsync--count-unchecked (cdr batch) -1)
          (mailsync--tell-checked batch))
      (quit
       (setq inhibit-quit t)
       (mailsync--recount-unchecked)
       (mailsync--tell-checked batch)))
    (mailsync--guarded mailsync--running #'mailsync-history-checked (car batch)
                       (cdr batch) results)
    (pcase-dolist (`(,folder . ,result) results)
      (mailsync-log-add (if (eq result 'failed) 'warning 'debug)
                        "%s: %s: %s" (car batch) folder result))
    (when brought
      (mailsync--run-hook-safely 'mailsync-new-mail-functions (car batch)
                                 brought))
    (mailsync-status-update)))

(defun mailsync--checked-late (account change result)
  "CHANGE of ACCOUNT was checked with RESULT; whoever waited was told before."
  (let ((folder (plist-get change :folder)))
    (mailsync--guarded mailsync--running #'mailsync-history-checked account
                       (list change) (list (cons folder result)))
    ;; Where a server is silent this comes again and again.
    (mailsync-log-add 'debug "%s: %s: %s, late" account folder result)
    (mailsync-status-update)))

(defun mailsync--ask-again-later ()
  "Ask again in a while for the checks that the user has quit."
  (unless (mailsync--armed-p mailsync--quit-timer)
    (setq mailsync--quit-timer
          (run-at-time mailsync--quit-pause nil #'mailsync--undisturbed
                       #'mailsync--ask-again))))

(defun mailsync--ask-again ()
  "Ask for the checks that the user has quit."
  (setq mailsync--quit-timer nil)
  (mapc #'mailsync--ask-check (mailsync--not-asked)))

(defun mailsync--not-asked ()
  "The checks that have not been asked for, in the order in which they came."
  (let (batches)
    (maphash (lambda (batch how) (when (eq how 'waits) (push batch batches)))
             mailsync--batches)
    (nreverse batches)))

(defun mailsync--tell-checked (batch)
  "Tell the engine that BATCH was checked, whatever came of it.
A sync may wait for this."
  (mailsync--call #'mailsync-module--checked
                  (mailsync-pipe-encode-text (car batch))
                  (vconcat (mapcar (lambda (change)
                                     (vector (mailsync-pipe-encode
                                              (plist-get change :truename))
                                             (plist-get change :serial)))
                                   (cdr batch)))))

(defun mailsync--recount-unchecked ()
  "Count anew which folders wait for their check."
  (clrhash mailsync--unchecked)
  (maphash (lambda (batch _) (mailsync--count-unchecked (cdr batch) 1))
           mailsync--batches))

(defun mailsync--count-unchecked (changes step)
  "By STEP more checks have the folders of CHANGES to do."
  (dolist (change changes)
    (let* ((folder (cons (plist-get change :account)
                         (plist-get change :truename)))
           (count (+ step (gethash folder mailsync--unchecked 0))))
      (if (zerop count)
          (remhash folder mailsync--unchecked)
        (puthash folder count mailsync--unchecked)))))

(defun mailsync--pending ()
  "How many folders wait for their check."
  (hash-table-count mailsync--unchecked))

(defun mailsync--set-checking (flag)
  "Note whether a check waits for a server: FLAG."
  (unless (eq flag mailsync--checking)
    (setq mailsync--checking flag)
    (mailsync-status-update)))

(defun mailsync-check-by-gnus (account changes done)
  "Have Gnus check the CHANGES of ACCOUNT and call DONE, as it must be called.
Where Gnus is not loaded there is nothing to check."
  (if (featurep 'gnus)
      (progn
        (require 'mailsync-gnus)
        (mailsync-gnus-check-changes account changes done))
    (funcall done (mapcar (lambda (change)
                            (cons (plist-get change :folder) 'not-running))
                          changes))))

(defun mailsync--notice (record)
  "See to RECORD, which is not a change."
  (pcase record
    ;; It may have thousands of fields, which are not decoded twice.
    (`("answer" ,slot ,request ,part ,parts ,_count . ,fields)
     (mailsync--answered (mailsync-pipe-decode-text slot)
                         (string-to-number request)
                         (string-to-number part) (string-to-number parts)
                         fields))
    (_
     (or (mailsync-sync-notice record)
         (mailsync--other-notice record)))))

(defun mailsync--other-notice (record)
  "See to RECORD, which is no change, no answer and not about a sync."
  (pcase (cons (car record) (mapcar #'mailsync-pipe-decode-text (cdr record)))
    (`("state" ,account ,state ,text)
     (mailsync--set-state account (intern state) text))
    (`("ready" ,account ,_)
     (mailsync--ready account (nth 2 record)))
    (`("remote" ,account ,number ,what ,state ,text)
     (mailsync-remote-notice account (string-to-number number) what state text))
    (`("secret" ,account ,remote ,number ,host ,port ,user ,anew)
     ;; Somebody may have to be asked; nothing else waits for that.
     (run-at-time 0 nil #'mailsync--undisturbed #'mailsync--guarded
                  mailsync--running #'mailsync-imap-wanted account
                  (string-to-number remote) (string-to-number number)
                  host (string-to-number port) user (equal anew "1")))
    (`("log" "error" ,text)
     (mailsync--once (list 'log text) 'error "%s" text))
    (`("log" ,level ,text)
     (mailsync-log-add (intern level) "%s" text))
    (`("bye" ,text)
     (mailsync--engine-ended text))))

(defun mailsync--ready (account directory)
  "Have what was there before DIRECTORY of ACCOUNT was watched checked.
DIRECTORY is in bytes; an empty one stands for all of an account without any.
Where Gnus is not loaded, its start is that check; while it starts it may have
read a group already, so that is checked after."
  (cond
   ((or (not (eq mailsync-check-function #'mailsync-check-by-gnus))
        (and (featurep 'mailsync-gnus) (mailsync-gnus-ready-p)))
    (if (equal directory "")
        (mailsync-remote-everything account)
      (mailsync--call #'mailsync-module--check
                      (mailsync-pipe-encode-text account) directory)))
   ((featurep 'gnus)
    (unless (member (cons account directory) mailsync--skipped)
      (push (cons account directory) mailsync--skipped)))))

(defun mailsync--check-skipped ()
  "Have checked what `mailsync--ready' left out: Gnus has started now."
  (pcase-dolist (`(,account . ,directory)
                 (prog1 (nreverse mailsync--skipped)
                   (setq mailsync--skipped nil)))
    ;; It may have been given up meanwhile.
    (when (member account (mailsync--account-names))
      (mailsync--ready account directory))))

(defun mailsync--keep-states (accounts)
  "Of the states known keep those of ACCOUNTS, a list of names; the rest start."
  (setq mailsync--states
        (mapcar (lambda (account)
                  (or (assoc account mailsync--states)
                      (list account 'starting)))
                accounts)
        mailsync--troubles
        (seq-filter (lambda (trouble) (member (car trouble) accounts))
                    mailsync--troubles))
  (mailsync-remote-keep accounts)
  (mailsync-history-keep accounts)
  (mailsync-status-update))

(defun mailsync--set-state (account state text)
  "ACCOUNT is in STATE, with TEXT for the user."
  (let ((old (alist-get account mailsync--states nil nil #'equal)))
    (unless (or (null old)              ; it was given up
                (equal old (cons state text)))
      (setf (alist-get account mailsync--states nil nil #'equal)
            (cons state text))
      ;; What was mended and breaks again is news.
      (mailsync--once-clear (list 'state (cdr old)))
      (if (equal text "")
          (mailsync-log-add 'info "%s: %s" account state)
        (setf (alist-get account mailsync--troubles nil nil #'equal)
              (cons (current-time) text))
        ;; A limit of the system concerns all accounts, and is said once.
        (mailsync--once (list 'state text)
                        (if (eq state 'error) 'error 'warning)
                        "account \"%s\": %s" account text))
      (unless (eq (car old) state)
        (mailsync--run-hook-safely 'mailsync-state-change-functions
                                   account state)
        (when (eq state 'watching)
          (mailsync--run-hook-safely 'mailsync-started-functions account)))
      (mailsync-status-update))))

;;;; After a quit

;; Three times C-g may end what was to be done with what came through the pipe
;; before a line of ours runs, and the timer that was to do it.

(defun mailsync--quit (data &rest _)
  "Mend what a quit, if DATA is one, may have ended in the middle.
For `command-error-function', to which a quit comes that nobody has caught."
  (when (memq (car data) '(quit minibuffer-quit))
    ;; Where C-g is typed on and on one may end this, too, and nobody calls this for it.
    (let ((timer (run-at-time mailsync--quit-pause nil
                              #'mailsync--undisturbed #'mailsync--mend)))
      (mailsync--undisturbed #'mailsync--mend)
      (cancel-timer timer))))

(defun mailsync--mend ()
  "See to what a quit may have ended in the middle."
  (when mailsync--running
    (mailsync--revive-timers)
    (cond
     ((process-live-p mailsync--pipe)
      (when (timerp mailsync--doubt-timer)
        (cancel-timer mailsync--doubt-timer))
      (setq mailsync--doubt-timer
            (run-at-time mailsync--doubt-delay nil #'mailsync--undisturbed
                         #'mailsync--doubt mailsync--pipe
                         (process-get mailsync--pipe 'mailsync-frames))))
     ((and mailsync--pipe (process-get mailsync--pipe 'mailsync-quit))
      (mailsync--pipe-broke mailsync--pipe "C-g"))
     (mailsync--pipe
      (mailsync-pipe-see mailsync--pipe)))
    (mailsync--dispatch-soon)
    (mailsync--recount-unchecked)
    (when (mailsync--not-asked)
      (mailsync--ask-again-later))
    (when (featurep 'mailsync-gnus)
      (mailsync-gnus-go-on))
    (mailsync-status-update)))

(defun mailsync--revive-timers ()
  "Have those timers of ours run that a quit ended when they began to."
  (dolist (timer timer-list)
    (when (and (timer--triggered timer)
               (eq (timer--function timer) #'mailsync--undisturbed))
      (cancel-timer timer)
      (timer-activate timer))))

(defun mailsync--doubt (process frames)
  "Take a new pipe if PROCESS has brought no more than FRAMES, but should have.
Then a quit has ended the reading of one."
  (setq mailsync--doubt-timer nil)
  (when (and (eq process mailsync--pipe) (process-live-p process))
    ;; Emacs may not have come to read it.
    (accept-process-output process 0 nil t)
    (when (and (process-live-p process)
               (eql frames (process-get process 'mailsync-frames))
               (plist-get (mailsync-module--status) :in-flight))
      (mailsync-pipe-quit process))))

;;;; Errands, done in the background

(defun mailsync--errand (slot function callback &rest args)
  "Have the module's FUNCTION do something in the background.
It is called with SLOT, a number and ARGS.  CALLBACK is called later with the
fields of the answer, a list of unibyte strings.  An errand for SLOT, a string,
replaces one that is not done."
  (setq mailsync--request (1+ mailsync--request))
  (setf (alist-get slot mailsync--requests nil nil #'equal)
        (list mailsync--request callback))
  (apply #'mailsync--call function
         (mailsync-pipe-encode-text slot) mailsync--request args))

(defun mailsync--answered (slot request part parts fields)
  "Take in PART of PARTS, with FIELDS, of the answer to REQUEST for SLOT."
  (let ((waiting (alist-get slot mailsync--requests nil nil #'equal)))
    (when (eql (car waiting) request)
      ;; After a new pipe a part may come twice, or late.
      (setf (alist-get part (cddr waiting)) fields)
      (when (= (length (cddr waiting)) parts)
        (setq mailsync--requests
              (assoc-delete-all slot mailsync--requests))
        (funcall (nth 1 waiting)
                 (mapcan (lambda (part) (alist-get part (cddr waiting)))
                         (number-sequence 0 (1- parts))))))))

(defun mailsync--resolve (slot names callback)
  "Find the truenames of NAMES in the background.
CALLBACK is called later with an alist from those that exist to their
truenames.  SLOT is as for `mailsync--errand'."
  (mailsync--errand slot #'mailsync-module--resolve
                    (lambda (fields)
                      (let (alist)
                        (while fields
                          (push (cons (mailsync-pipe-decode (pop fields))
                                      (mailsync-pipe-decode (pop fields)))
                                alist))
                        (funcall callback alist)))
                    (vconcat (mapcar #'mailsync-pipe-encode names))))

(provide 'mailsync-dispatch)
;;; mailsync-dispatch.el ends here
