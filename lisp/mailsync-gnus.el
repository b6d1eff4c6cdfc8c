;;; mailsync-gnus.el --- Gnus's side of mailsync  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When a folder changes, the groups that show it are checked, and no
;; others.
;;
;;   mailsync-gnus-folders.el   which groups show a folder
;;   mailsync-gnus-items.el     the folders that wait, and who waits for them
;;   mailsync-gnus-check.el     how a group is checked without disturbing
;;   mailsync-gnus-imap.el      how nnimap's are, without waiting
;;   mailsync-gnus-sources.el   how a maildir that Gnus empties is fetched
;;   mailsync-gnus.el           when; and what the core and the user call
;;
;; The work is done by `mailsync-gnus--step', in small slices, and only
;; while Emacs waits for the user in its command loop and the user is
;; idle (`mailsync-gnus--refusal').  One repeating idle timer, which is
;; there only while there is work, catches the next idle moment; one
;; ordinary timer goes on within this one.  A user who types without a
;; pause is served after `mailsync-gnus-max-wait', between two keys.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-sources)
(require 'mailsync-gnus-items)

;;;; Customization

(defgroup mailsync-gnus nil
  "How mailsync checks the groups of Gnus."
  :group 'mailsync
  :group 'gnus)

(defcustom mailsync-gnus-idle-delay 0.5
  "Check groups after Emacs has been idle for so many seconds."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-max-wait 30
  "Wait at most so many seconds for an idle moment.
After that, groups are checked between your keystrokes, for a few
milliseconds at a time."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-catch-up-delay 10
  "Seconds of idleness before flags are looked for after new mail came.
To count new messages in an nnmaildir group is cheap; to look
whether another program changed the flags of old ones is not.  A
folder into which messages were only delivered is looked at in
full after Emacs has been idle for so many seconds."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-run-hooks t
  "Whether Gnus's hooks for new mail are run after a check.
If non-nil, `gnus-get-new-news-hook' and
`gnus-after-getting-new-news-hook' are run, in this order, once
after the groups of a batch of changes were checked, provided
that the number of unread messages rose in one of them."
  :type 'boolean
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

;;;; Internal variables

(defconst mailsync-gnus--slice 0.05
  "Work for so many seconds at most in an idle moment, then look for input.")

(defconst mailsync-gnus--slice-between-keys 0.016
  "Work for so many seconds at most between two keystrokes.")

(defconst mailsync-gnus--resolve-timeout 5
  "Wait so many seconds for file names to be resolved before going on.")

(defconst mailsync-gnus--asked-max 100
  "Ask an nnimap server for so many groups at most in one go.
To take in the answer costs time for each of them.")

(defconst mailsync-gnus--quit-pause 5
  "Leave the user in peace for so many seconds after a quit.")

(defconst mailsync-gnus--echo 3
  "Flags that change within so many seconds after new mail can wait.
nnmaildir has just moved the new messages to cur/, and mostly
that is all that has happened.")

(defvar mailsync-gnus--sent nil
  "Alist from the name of an nnimap server to what it was asked.
The rest of each element is an alist from group to items.")

(defvar mailsync-gnus--already-split nil
  "Claimed groups whose mail was split since they were claimed.")

(defvar mailsync-gnus--virtual nil
  "The nnvirtual groups of which members were checked.")

(defvar mailsync-gnus--catch-up (make-hash-table :test #'equal)
  "Group that was not looked at in full to (TIME . KINDS).
TIME is when that was last, KINDS is what has happened in it.")

(defvar mailsync-gnus--idle-timer nil
  "Repeating idle timer, for the next idle moment, while there is work.")

(defvar mailsync-gnus--catch-up-timer nil
  "Repeating idle timer, for a longer idle moment, while it is needed.")

(defvar mailsync-gnus--timer nil
  "Ordinary timer that goes on with the work.")

(defvar mailsync-gnus--resolve-timer nil
  "Timer that ends waiting for file names to be resolved.")

(defvar mailsync-gnus--quit-time nil
  "Time when the user last quit a check, or nil.")

(defvar mailsync-gnus--refusals 0
  "How often in a row work was refused although the user was idle.")

(defvar mailsync-gnus--waiting-since nil
  "Time since when there has been work without a moment for it, or nil.")

(defvar mailsync-gnus--running nil
  "Non-nil while groups are being checked.")

(defvar mailsync-gnus--risen nil
  "Time when a count rose for which Gnus's hooks have not run yet, or nil.")

(defvar mailsync-gnus--checking nil
  "What the core was last told about a check being under way.")

(defvar mailsync-gnus--last-error nil
  "The last check or fetch that failed, (GROUP-OR-DIRECTORY . TEXT), or nil.")

(defvar mailsync-gnus--counts nil
  "How much was done: a plist of counts.
`:groups', `:fetches', `:errors' and `:slices'.")

(defvar mailsync-gnus--set-up nil
  "Non-nil between `mailsync-gnus-setup' and `mailsync-gnus-teardown'.")

;;;; Declarations

(defvar gnus-active-hashtb)
(defvar gnus-group-buffer)
(defvar gnus-inhibit-demon)
(defvar gnus-newsrc-hashtb)
(defvar mailsync-mode-line)
(defvar nntp-server-buffer)

(declare-function gnus-alive-p "gnus-util" ())
(declare-function gnus-find-method-for-group "gnus" (group &optional info))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--run-hook-safely "mailsync-log" (hook &rest args))
(declare-function mailsync--check-skipped "mailsync-dispatch" ())
(declare-function mailsync--set-checking "mailsync-dispatch" (flag))

;;;; When

(defun mailsync-gnus--find-groups ()
  "Find the groups of the folders that changed; resolve names if need be."
  (when (mailsync-gnus--map-items)
    (mailsync-gnus--resolve)))

(defun mailsync-gnus--resolve ()
  "Have the names of Gnus's directories resolved, then go on."
  (mailsync-gnus--cancel 'mailsync-gnus--resolve-timer)
  (setq mailsync-gnus--resolve-timer
        (run-at-time mailsync-gnus--resolve-timeout nil
                     #'mailsync-gnus--resolve-late))
  (mailsync-gnus--refresh-index #'mailsync-gnus--resolved))

(defun mailsync-gnus--resolved ()
  "The names of Gnus's directories were resolved."
  (mailsync-gnus--cancel 'mailsync-gnus--resolve-timer)
  (setq mailsync-gnus--names-late nil)
  (mailsync-gnus--arm))

(defun mailsync-gnus--resolve-late ()
  "Names are not resolved in time: nobody shall wait any longer."
  (setq mailsync-gnus--resolve-timer nil
        mailsync-gnus--names-late t)
  (mailsync-log-add 'warning "Directories of Gnus's servers do not answer")
  (mailsync-gnus--arm))

(defun mailsync-gnus-ready-p ()
  "Non-nil if Gnus is alive and has wholly started."
  (and (fboundp 'gnus-alive-p)
       (gnus-alive-p)
       ;; Half started, or suspended, it is alive without these.
       (hash-table-p (bound-and-true-p gnus-newsrc-hashtb))
       (hash-table-p (bound-and-true-p gnus-active-hashtb))
       (bound-and-true-p nntp-server-buffer)
       (buffer-live-p (get-buffer nntp-server-buffer))
       (get-buffer gnus-group-buffer)
       t))

(defun mailsync-gnus--clean-stack-p ()
  "Non-nil if nobody waits for this timer to return.
A timer also runs while some command waits, perhaps for an
answer that Gnus would then lose.  When Emacs waits for a key in
its command loop, the only function below a timer is the timer's
own.  In batch mode there is no command loop: then it is enough
that it is not Gnus who waits."
  (let ((frames 0)
        (gnus nil))
    (mapbacktrace (lambda (_evaluated function _arguments _flags)
                    (cl-incf frames)
                    (when (and (symbolp function)
                               (string-match-p "\\`\\(?:nn[a-z]+\\|gnus\\)-"
                                               (symbol-name function)))
                      (setq gnus t)))
                  #'timer-event-handler)
    (if noninteractive
        (not gnus)
      (= frames 1))))

(defun mailsync-gnus--idle ()
  "For how many seconds Emacs has been idle, nil if it is not.
In batch mode there is no user, hence nobody to be disturbed."
  (if noninteractive
      1.0e+INF
    (let ((idle (current-idle-time)))
      (and idle (float-time idle)))))

(defun mailsync-gnus--refusal (&optional busy)
  "Why no group may be checked at this moment, a symbol, or nil.
BUSY non-nil means that the user need not be idle."
  (cond
   ((input-pending-p) 'input)
   ((not (or busy
             (let ((idle (mailsync-gnus--idle)))
               ;; Timers may come a little early.
               (and idle (>= (+ idle 0.01) mailsync-gnus-idle-delay)))))
    'busy)
   ((not (zerop (minibuffer-depth))) 'minibuffer)
   ((or executing-kbd-macro defining-kbd-macro) 'macro)
   ;; A command waits for its next key, unless the user has gone away:
   ;; some leave their keymap in place until a key comes.
   ((and overriding-terminal-local-map
         (not (> (or (mailsync-gnus--idle) 0) mailsync-gnus-max-wait)))
    'keymap)
   ((bound-and-true-p gnus-inhibit-demon) 'demon)
   (mailsync-gnus--running 'running)
   ((not (mailsync-gnus--clean-stack-p)) 'stack)))

(defun mailsync-gnus--catch-up-wait ()
  "Seconds until a group may be looked at in full, nil if none has to be.
Nil also if the user is not idle enough: an idle timer tells then."
  (let ((first nil)
        (idle (mailsync-gnus--idle)))
    (when (and idle (>= (+ idle 0.01) mailsync-gnus-catch-up-delay))
      (maphash (lambda (_ entry)
                 (setq first (min (or first (car entry)) (car entry))))
               mailsync-gnus--catch-up))
    (and first
         (max 0 (- (+ first mailsync-gnus-catch-up-delay) (float-time))))))

(defun mailsync-gnus--next-unit ()
  "The next piece of work, or the seconds until there is one, or nil.
A piece of work is a list (FUNCTION . ARGUMENTS)."
  (let ((wait nil))
    (cl-flet ((later (seconds)
                (when seconds
                  (setq wait (if wait (min wait seconds) seconds)))))
      (or
       (when-let* ((server (car (mailsync-gnus--imap-in-state 'answered 'dead))))
         (list #'mailsync-gnus--finish-imap server))
       ;; Before any group: it may be shown by one, too.
       (when mailsync-gnus--fetches
         (list #'mailsync-gnus--fetch-claimed))
       (catch 'unit
         (dolist (group (mailsync-gnus--queue))
           (when-let* ((items (gethash group mailsync-gnus--claims)))
             (let ((method (and (mailsync-gnus--entry group)
                                (gnus-find-method-for-group group))))
               (cond
                ((and (mailsync-gnus--splits-p group method)
                      (not (member group mailsync-gnus--already-split))
                      (eql 0 (mailsync-gnus--imap-wait
                              (mailsync-gnus--imap-server method))))
                 (throw 'unit (list #'mailsync-gnus--split-claimed group)))
                ((not (mailsync-gnus--imap-asynchronous-p method))
                 (throw 'unit (list #'mailsync-gnus--check-claimed group)))
                (t
                 (let* ((server (mailsync-gnus--imap-server method))
                        (seconds (mailsync-gnus--imap-wait server)))
                   (cond
                    ((eql seconds 0)
                     (throw 'unit (list #'mailsync-gnus--ask-imap method)))
                    (seconds
                     (later seconds)
                     ;; Known not to answer: nobody shall wait for it.
                     (dolist (item items)
                       (when (mailsync-gnus--item-calls item)
                         (mailsync-gnus--answer-all item 'failed)))))))))))
         nil)
       (when mailsync-gnus--virtual
         (list #'mailsync-gnus--check-virtual-one))
       (when mailsync-gnus--risen
         (if (or (not (mailsync-gnus--busy-p))
                 (> (- (float-time) mailsync-gnus--risen) 2))
             (list #'mailsync-gnus--run-hooks)
           (later 2)
           nil))
       (progn
         (when-let* ((seconds (mailsync-gnus--catch-up-wait)))
           (later seconds))
         (if (and wait (<= wait 0) (> (hash-table-count mailsync-gnus--catch-up) 0))
             (list #'mailsync-gnus--catch-up-one)
           wait))))))

(defun mailsync-gnus--busy-p ()
  "Non-nil while a batch is not settled.
What waits for a server that does not answer does not count."
  (or mailsync-gnus--sent
      (and mailsync-gnus--unmapped
           (not mailsync-gnus--names-late))))

(defun mailsync-gnus--overdue-p ()
  "Non-nil if work has waited for too long for an idle moment."
  (and mailsync-gnus--waiting-since
       (>= (- (float-time) mailsync-gnus--waiting-since)
           mailsync-gnus-max-wait)))

(defun mailsync-gnus--guard (function)
  "Call FUNCTION; if it signals an error, give up what is pending.
That is a bug of ours: it must be seen, leave nobody waiting, and
not come back for ever."
  (condition-case err
      (funcall function)
    (error
     (mailsync-log-add 'error "checking Gnus's groups: %s"
                       (error-message-string err))
     (mailsync-gnus--abandon))))

(defun mailsync-gnus--step ()
  "Do a slice of the work if this is a moment for it.
The function of all timers."
  (mailsync-gnus--guard #'mailsync-gnus--step-1))

(defun mailsync-gnus--step-1 ()
  "Do what `mailsync-gnus--step' does."
  (mailsync-gnus--cancel 'mailsync-gnus--timer)
  (if (not (mailsync-gnus-ready-p))
      (mailsync-gnus--gnus-gone)
    (let* ((overdue (mailsync-gnus--overdue-p))
           (refusal (mailsync-gnus--refusal overdue)))
      (cond
       (refusal
        (cl-incf mailsync-gnus--refusals))
       (t
        (setq mailsync-gnus--refusals 0
              mailsync-gnus--quit-time nil)
        (if (mailsync-gnus--refusal) ; the user types, but it is overdue
            (let ((mailsync-gnus--hurry t))
              (mailsync-gnus--slice mailsync-gnus--slice-between-keys))
          (setq mailsync-gnus--waiting-since nil)
          (mailsync-gnus--slice mailsync-gnus--slice))
        (when mailsync-gnus--quit-time
          (setq refusal 'quit))))
      (mailsync-gnus--arm refusal))))

(defun mailsync-gnus--slice (seconds)
  "Work for about SECONDS."
  (let ((mailsync-gnus--running t)
        (end (+ (float-time) seconds))
        unit)
    (mailsync-gnus--count :slices)
    (mailsync-gnus--find-groups)
    (while (and (consp (setq unit (mailsync-gnus--next-unit)))
                (progn
                  (apply (car unit) (cdr unit))
                  (mailsync-gnus--find-groups)
                  (not (or quit-flag
                           mailsync-gnus--quit-time
                           (input-pending-p)
                           (> (float-time) end))))))))

(defun mailsync-gnus--arm (&optional refusal)
  "Arm the timers for the work that there is.
REFUSAL is why it may not be done at this moment."
  (when mailsync-gnus--set-up
    (mailsync-gnus--guard (lambda () (mailsync-gnus--arm-1 refusal)))))

(defun mailsync-gnus--arm-1 (refusal)
  "Do what `mailsync-gnus--arm' does after REFUSAL."
  (let* ((unit (if (mailsync-gnus-ready-p)
                   (if (mailsync-gnus--mappable-p)
                       '(mailsync-gnus--find-groups)
                     (mailsync-gnus--next-unit))))
         (due (consp unit))
         (idle (mailsync-gnus--idle)))
    (mailsync-gnus--cancel 'mailsync-gnus--timer)
    (if due
        (progn
          (unless mailsync-gnus--waiting-since
            (setq mailsync-gnus--waiting-since (float-time)))
          (unless mailsync-gnus--idle-timer
            (setq mailsync-gnus--idle-timer
                  (run-with-idle-timer mailsync-gnus-idle-delay t
                                       #'mailsync-gnus--step))))
      (setq mailsync-gnus--waiting-since nil
            mailsync-gnus--refusals 0)
      (mailsync-gnus--cancel 'mailsync-gnus--idle-timer))
    (if (zerop (hash-table-count mailsync-gnus--catch-up))
        (mailsync-gnus--cancel 'mailsync-gnus--catch-up-timer)
      (unless mailsync-gnus--catch-up-timer
        (setq mailsync-gnus--catch-up-timer
              (run-with-idle-timer mailsync-gnus-catch-up-delay t
                                   #'mailsync-gnus--step))))
    (when-let* ((seconds
                 (cond
                  ((numberp unit) unit)
                  ((not due) nil)
                  (t (mailsync-gnus--delay refusal idle)))))
      (setq mailsync-gnus--timer
            (run-at-time seconds nil #'mailsync-gnus--step)))
    (mailsync-gnus--tell-checking)))

(defun mailsync-gnus--delay (refusal idle)
  "Seconds to the next attempt, after REFUSAL, Emacs being idle for IDLE.
The idle timer makes an attempt in each idle period besides."
  (let ((overdue (max 0.05 (- (+ mailsync-gnus--waiting-since
                                 mailsync-gnus-max-wait)
                              (float-time)))))
    (cond
     ((and idle (null refusal))
      (max 0 (- mailsync-gnus-idle-delay idle)))
     ((memq refusal '(nil input busy))
      overdue)
     ((eq refusal 'quit) mailsync-gnus--quit-pause)
     ;; Somebody else has Emacs, and may for hours.
     (t (min 8 (* 0.1 (expt 2 (min 10 mailsync-gnus--refusals))))))))

(defun mailsync-gnus--cancel (variable)
  "Cancel the timer in VARIABLE."
  (when (timerp (symbol-value variable))
    (cancel-timer (symbol-value variable)))
  (set variable nil))

(defun mailsync-gnus--wake ()
  "Go on with the work soon; may be called from anywhere."
  (when mailsync-gnus--set-up
    (mailsync-gnus--cancel 'mailsync-gnus--timer)
    (setq mailsync-gnus--timer (run-at-time 0 nil #'mailsync-gnus--step))))

(defun mailsync-gnus--tell-checking ()
  "Tell the core whether an answer is being waited for."
  (let ((checking (and mailsync-gnus--sent t)))
    (unless (eq checking mailsync-gnus--checking)
      (setq mailsync-gnus--checking checking)
      (mailsync--set-checking checking))))

;;;; The work

(defun mailsync-gnus--count (key)
  "Add one to the count KEY."
  (setq mailsync-gnus--counts
        (plist-put mailsync-gnus--counts key
                   (1+ (or (plist-get mailsync-gnus--counts key) 0)))))

(defun mailsync-gnus--begin (items)
  "From now on a change of the folder of one of ITEMS is a new item.
Before a group is looked at, for Gnus may wait meanwhile, and
changes arrive."
  (dolist (item items)
    (setf (mailsync-gnus--item-begun item) t)))

(defun mailsync-gnus--decline (group reason items)
  "Do not check GROUP, which ITEMS claim, because of REASON.
It was well when it was claimed: the user has acted since."
  (mailsync-gnus--leave-alone group reason)
  (remhash group mailsync-gnus--claims)
  (dolist (item items)
    (mailsync-gnus--item-checked item group 'no-group nil)))

(defun mailsync-gnus--check-claimed (group)
  "Check GROUP for the items that claim it."
  (let* ((items (gethash group mailsync-gnus--claims))
         (reason (mailsync-gnus--why-not group)))
    (if reason
        (mailsync-gnus--decline group reason items)
      (let ((kinds nil))
        (mailsync-gnus--begin items)
        (dolist (item items)
          (setq kinds (cl-union kinds
                                (plist-get (mailsync-gnus--item-change item)
                                           :kinds))))
        (mailsync-gnus--check-for group kinds items)))))

(defun mailsync-gnus--light-p (group kinds)
  "Non-nil if it is enough to count GROUP for now, in which KINDS happened.
It is looked at in full later, in a longer idle moment."
  (let ((entry (gethash group mailsync-gnus--catch-up)))
    (and (eq (car (gnus-find-method-for-group group)) 'nnmaildir)
         (eq mailsync-gnus-check-method 'parts)
         (or mailsync-gnus--hurry
             (equal kinds '(new))
             ;; Our own move to cur/, if nothing else.  Should another
             ;; program have changed flags, the look that is due sees it.
             (and entry
                  (< (- (float-time) (car entry)) mailsync-gnus--echo)
                  (null (cl-set-difference kinds '(new flags))))))))

(defun mailsync-gnus--check-for (group kinds items)
  "Check GROUP, in which changes of KINDS happened, on behalf of ITEMS."
  (let* ((light (mailsync-gnus--light-p group kinds))
         (entry (gethash group mailsync-gnus--catch-up))
         (report (mailsync-gnus--check-group group (if light '(new) kinds))))
    (pcase (nth 1 report)
      ((or 'checked 'partial)
       (if light
           (puthash group
                    ;; Flags put nothing off.
                    (cons (if (and entry (memq 'flags kinds)) (car entry)
                            (float-time))
                          (cl-union kinds (cdr entry)))
                    mailsync-gnus--catch-up)
         (remhash group mailsync-gnus--catch-up))))
    (mailsync-gnus--report report items)))

(defun mailsync-gnus--split-claimed (group)
  "Have the server of GROUP, which is claimed, split its mail.
Whoever claims GROUP claims the groups to which mail went, too."
  (let* ((items (gethash group mailsync-gnus--claims))
         (why-not (mailsync-gnus--why-not group))
         (groups nil))
    (mailsync-gnus--begin items)
    (unless why-not
      (setq groups (mailsync-gnus--split (gnus-find-method-for-group group))))
    (pcase groups
      ('quit (setq mailsync-gnus--quit-time (float-time)))
      ((pred stringp)
       ;; If the server is silent it is tried again with the check;
       ;; if the user's rules are wrong the check follows all the same.
       (when (eql 0 (mailsync-gnus--imap-wait
                     (mailsync-gnus--imap-server
                      (gnus-find-method-for-group group))))
         (push group mailsync-gnus--already-split))
       (mailsync-log-add 'error "%s: splitting failed: %s" group groups))
      (_
       (push group mailsync-gnus--already-split)
       (mailsync-gnus--claim-destinations (remove group groups) items)))))

(defun mailsync-gnus--claim-destinations (groups items)
  "Make ITEMS wait for GROUPS, to which their mail went.
Except those to be left alone."
  (dolist (group groups)
    (let ((reason (mailsync-gnus--why-not group)))
      (if reason
          (mailsync-gnus--leave-alone group reason)
        (dolist (item items)
          (cl-pushnew group (mailsync-gnus--item-groups item) :test #'equal)
          (mailsync-gnus--claim-group item group))))))

(defun mailsync-gnus--fetch-claimed ()
  "Fetch the mail source that has waited for it the longest.
Whoever waits for it claims the groups to which its mail went."
  (pcase-let* ((`(,source . ,items) (car mailsync-gnus--fetches))
               (`(,directory . ,specifier) source)
               (method (mailsync-gnus--fetching-method))
               (reason (mailsync-gnus--why-no-fetch specifier method)))
    (if reason
        (progn
          (mailsync-gnus--leave-alone directory reason)
          (mailsync-gnus--fetched source 'no-group))
      (mailsync-gnus--begin items)
      (mailsync-gnus--count :fetches)
      (pcase-let ((`(,result ,groups)
                   (mailsync-gnus--fetch directory specifier method)))
        ;; Some of its mail may have got there, however it ended.
        (mailsync-gnus--claim-destinations groups items)
        (cond
         ((eq result 'quit)             ; it stays the first
          (setq mailsync-gnus--quit-time (float-time))
          (mailsync-log-add 'info "%s: you have quit the fetch" directory))
         ((eq result 'partial)          ; it is the others' turn first
          (setq mailsync-gnus--fetches
                (append (cdr mailsync-gnus--fetches)
                        (list (car mailsync-gnus--fetches)))))
         (t
          (when (stringp result)
            (mailsync-gnus--count :errors)
            (setq mailsync-gnus--last-error (cons directory result)))
          (mailsync-gnus--fetched source
                                  (if (stringp result) 'failed result))))))))

(defun mailsync-gnus--fetched (source result)
  "The fetch of SOURCE, the first of all, ended with RESULT."
  (pcase-let ((`(,_ . ,items) (pop mailsync-gnus--fetches)))
    (dolist (item items)
      (setf (mailsync-gnus--item-sources item)
            (delete source (mailsync-gnus--item-sources item)))
      (mailsync-gnus--note-result item result)
      (mailsync-gnus--settle-if-done item))))

(defun mailsync-gnus--check-virtual-one ()
  "Bring one nnvirtual group up to date."
  (let ((group (pop mailsync-gnus--virtual)))
    (unless (mailsync-gnus--why-not group)
      (mailsync-gnus--report (mailsync-gnus--check-virtual group) nil))))

(defun mailsync-gnus--catch-up-one ()
  "Look in full at the group that has waited for it the longest."
  (let ((first nil) (group nil))
    (maphash (lambda (key entry)
               (when (or (null first) (< (car entry) (car first)))
                 (setq first entry group key)))
             mailsync-gnus--catch-up)
    (when group
      (if (mailsync-gnus--why-not group)
          (remhash group mailsync-gnus--catch-up)
        (let ((report (mailsync-gnus--check-group
                       group (cl-adjoin 'flags (cdr first)))))
          ;; Else it goes on with this one.
          (unless (eq (nth 1 report) 'partial)
            (remhash group mailsync-gnus--catch-up))
          (mailsync-gnus--report report nil))))))

(defun mailsync-gnus--report (report items)
  "Take the REPORT of a check, for the ITEMS that claimed its group."
  (pcase-let ((`(,group ,result ,old ,new) report))
    (pcase result
      ;; The claims stay.
      ('quit
       (setq mailsync-gnus--quit-time (float-time))
       (mailsync-log-add 'info "%s: you have quit the check" group))
      ('partial
       ;; It is the others' turn first.
       (setq mailsync-gnus--queue (delete group mailsync-gnus--queue))
       (when items (push group mailsync-gnus--queue-tail)))
      (_
       (mailsync-gnus--report-end group result old new items)))))

(defun mailsync-gnus--report-end (group result old new items)
  "The check of GROUP for ITEMS ended with RESULT, counts OLD and NEW."
  (remhash group mailsync-gnus--claims)
  (remhash group mailsync-gnus--left-alone)
  (setq mailsync-gnus--already-split (delete group mailsync-gnus--already-split))
  (dolist (virtual (mailsync-gnus--virtual-groups group))
    (cl-pushnew virtual mailsync-gnus--virtual :test #'equal))
  (mailsync-gnus--count :groups)
  (when (stringp result)
    (mailsync-gnus--count :errors)
    (setq mailsync-gnus--last-error (cons group result))
    (mailsync-log-add 'error "%s: the check failed: %s" group result)
    (setq result 'failed))
  (let ((news (and old new (> new old) (list group old new))))
    (when news
      (unless mailsync-gnus--risen
        (setq mailsync-gnus--risen (float-time))))
    (dolist (item items)
      (mailsync-gnus--item-checked item group result news))))

(defun mailsync-gnus--item-checked (item group result news)
  "GROUP, claimed by ITEM, was checked with RESULT and NEWS."
  (setf (mailsync-gnus--item-groups item)
        (delete group (mailsync-gnus--item-groups item)))
  (mailsync-gnus--note-result item result)
  (when news (push news (mailsync-gnus--item-news item)))
  (mailsync-gnus--settle-if-done item))

(defun mailsync-gnus--note-result (item result)
  "A part of what ITEM waits for ended with RESULT; a failure stays one."
  (pcase result
    ('failed (setf (mailsync-gnus--item-result item) 'failed))
    ('checked (unless (eq (mailsync-gnus--item-result item) 'failed)
                (setf (mailsync-gnus--item-result item) 'checked)))))

(defun mailsync-gnus--ask-imap (method)
  "Ask the nnimap server METHOD for all groups of it that are claimed."
  (let ((name (mailsync-gnus--server-name method))
        (asked nil))
    (cl-loop for group in (mailsync-gnus--queue)
             for items = (gethash group mailsync-gnus--claims)
             until (nthcdr (1- mailsync-gnus--asked-max) asked)
             when (and items
                       (mailsync-gnus--entry group)
                       (equal (mailsync-gnus--server-name
                               (gnus-find-method-for-group group))
                              name))
             do (push (cons group items) asked))
    (dolist (entry asked)
      (when-let* ((reason (mailsync-gnus--why-not (car entry))))
        (setq asked (remq entry asked))
        (mailsync-gnus--decline (car entry) reason (cdr entry))))
    (when asked
      (dolist (entry asked)
        (mailsync-gnus--begin (cdr entry)))
      (let ((reports (mailsync-gnus--imap-send method (mapcar #'car asked)
                                               #'mailsync-gnus--wake)))
        (if reports
            (dolist (report reports)
              (mailsync-gnus--report-imap report
                                          (cdr (assoc (car report) asked))
                                          t))
          (push (cons name asked) mailsync-gnus--sent)
          (dolist (entry asked)
            (remhash (car entry) mailsync-gnus--claims)))))))

(defun mailsync-gnus--finish-imap (server)
  "Take the answer of SERVER, or notice that there is none."
  (let* ((name (mailsync-gnus--imap-name server))
         (asked (cdr (assoc name mailsync-gnus--sent)))
         (dead (eq (mailsync-gnus--imap-state server) 'dead)))
    (setq mailsync-gnus--sent
          (assoc-delete-all name mailsync-gnus--sent))
    (dolist (report (mailsync-gnus--imap-finish server))
      (mailsync-gnus--report-imap report (cdr (assoc (car report) asked))
                                  dead))))

(defun mailsync-gnus--report-imap (report items silent)
  "Take REPORT about a group that an nnimap server was asked for by ITEMS.
SILENT non-nil means that the server itself failed: then the
folders wait for it."
  (pcase-let ((`(,group ,result) report))
    (cond
     ((eq result 'quit)
      (setq mailsync-gnus--quit-time (float-time))
      (dolist (item items)
        (mailsync-gnus--claim-group item group)))
     (t
      (when (and silent (stringp result))
        (dolist (item items)
          (setf (mailsync-gnus--item-again item) t)))
      (mailsync-gnus--report report items)))))

(defun mailsync-gnus--run-hooks ()
  "Run Gnus's hooks for new mail, once for all counts that rose."
  (setq mailsync-gnus--risen nil)
  (when mailsync-gnus-run-hooks
    (let ((inhibit-interaction t)
          (use-dialog-box nil)
          (gnus-inhibit-demon t))
      (with-local-quit
        (save-current-buffer
          (set-buffer gnus-group-buffer)
          (mailsync--run-hook-safely 'gnus-get-new-news-hook)
          (mailsync--run-hook-safely 'gnus-after-getting-new-news-hook))))))

(defun mailsync-gnus--drop-claims ()
  "Forget which groups were to be checked."
  (clrhash mailsync-gnus--claims)
  (clrhash mailsync-gnus--catch-up)
  (clrhash mailsync-gnus--partial)
  (clrhash mailsync-gnus--shown)
  (setq mailsync-gnus--fetches nil
        mailsync-gnus--queue nil
        mailsync-gnus--queue-tail nil
        mailsync-gnus--already-split nil
        mailsync-gnus--virtual nil
        mailsync-gnus--sent nil))

(defun mailsync-gnus--abandon ()
  "Give up what is claimed, so that an error cannot repeat for ever."
  (let ((items nil))
    (maphash (lambda (_ item) (push item items)) mailsync-gnus--pending)
    (mailsync-gnus--drop-claims)
    (setq mailsync-gnus--unmapped nil)
    (mailsync-gnus--imap-close-all)
    (dolist (item items)
      (setf (mailsync-gnus--item-result item) 'failed
            (mailsync-gnus--item-again item) nil)
      (mailsync-gnus--settle item))))

;;;; Gnus comes and goes

(defun mailsync-gnus--gnus-gone ()
  "Gnus does not run (any more): tell everyone, keep the folders.
They are checked once Gnus has started."
  (mailsync-gnus--imap-close-all)
  (mailsync-gnus--forget-index)
  (dolist (timer '(mailsync-gnus--timer mailsync-gnus--idle-timer
                   mailsync-gnus--catch-up-timer mailsync-gnus--resolve-timer))
    (mailsync-gnus--cancel timer))
  (setq mailsync-gnus--risen nil
        mailsync-gnus--waiting-since nil
        mailsync-gnus--unmapped nil)
  (mailsync-gnus--drop-claims)
  (clrhash mailsync-gnus--left-alone)
  (let ((items nil))
    (dolist (table (list mailsync-gnus--next mailsync-gnus--pending))
      (maphash (lambda (_ item) (push item items)) table)
      (clrhash table))
    (dolist (item items)
      (mailsync-gnus--add (mailsync-gnus--item-change item) nil))
    ;; Last: whoever is told may ask for more.
    (mailsync-gnus--tell-checking)
    (dolist (item items)
      (mailsync-gnus--answer-all item 'not-running))))

(defun mailsync-gnus--started ()
  "Gnus has started: check what changed before.  For `gnus-started-hook'."
  (maphash (lambda (_ item)
             (setf (mailsync-gnus--item-stamp item)
                   mailsync-gnus--index-request))
           mailsync-gnus--pending)
  (mailsync-gnus--resolve)
  (mailsync-gnus--arm)
  (mailsync--check-skipped))

(defun mailsync-gnus--exited ()
  "Gnus has quit.  For `gnus-after-exiting-gnus-hook'."
  (mailsync-gnus--gnus-gone))

(defun mailsync-gnus--show-mode-line ()
  "Show mailsync's state in the mode line of *Group*.
For `gnus-group-mode-hook'.  Gnus leaves this variable alone."
  (setq mode-line-process '("" mailsync-mode-line)))

;;;; What the core calls

(defun mailsync-gnus-setup ()
  "Begin to serve Gnus.  It must be loaded, but need not run."
  (unless mailsync-gnus--set-up
    (setq mailsync-gnus--set-up t)
    (add-hook 'gnus-group-mode-hook #'mailsync-gnus--show-mode-line)
    (add-hook 'gnus-started-hook #'mailsync-gnus--started)
    (add-hook 'gnus-after-exiting-gnus-hook #'mailsync-gnus--exited)
    (when-let* ((buffer (get-buffer gnus-group-buffer)))
      (with-current-buffer buffer
        (mailsync-gnus--show-mode-line)))
    (when (mailsync-gnus-ready-p)
      (mailsync-gnus--started))))

(defun mailsync-gnus-teardown ()
  "Stop serving Gnus: close connections, drop what is pending, tell everyone."
  (when mailsync-gnus--set-up
    (setq mailsync-gnus--set-up nil)
    (remove-hook 'gnus-group-mode-hook #'mailsync-gnus--show-mode-line)
    (remove-hook 'gnus-started-hook #'mailsync-gnus--started)
    (remove-hook 'gnus-after-exiting-gnus-hook #'mailsync-gnus--exited)
    (when-let* ((buffer (get-buffer gnus-group-buffer)))
      (with-current-buffer buffer
        (when (equal mode-line-process '("" mailsync-mode-line))
          (kill-local-variable 'mode-line-process)
          (force-mode-line-update))))
    (mailsync-gnus--gnus-gone)
    (clrhash mailsync-gnus--pending)
    (clrhash mailsync-gnus--next)
    (setq mailsync-gnus--unmapped nil)))

(defun mailsync-gnus-check-changes (account changes done)
  "Check the groups of some folders of ACCOUNT, then call DONE.
CHANGES say which folders.  Returns at once.  DONE is called
once, with an alist from folder to `checked', `no-group',
`not-running' or `failed', and with a list of those CHANGES that
brought a message; each of these has gained `:groups', a list
of (GROUP OLD NEW), numbers of unread messages.

While Gnus does not run, DONE is called at once, and the folders
are checked when it has started."
  (let ((call (mailsync-gnus--make-call :account account :done done
                                        ;; Ours, until all are there.
                                        :left 1)))
    (dolist (change changes)
      (mailsync-gnus--add change call))
    (if (and mailsync-gnus--set-up (mailsync-gnus-ready-p))
        (mailsync-gnus--arm)
      (mailsync-gnus--gnus-gone))
    (when (zerop (cl-decf (mailsync-gnus--call-left call)))
      (mailsync-gnus--finish-call call))))

(defun mailsync-gnus-status ()
  "What mailsync knows of Gnus, for the status buffer, a plist.
`:ready' is non-nil if Gnus runs, `:pending' the number of folders
that wait for their check, `:asked' lists the nnimap servers whose
answer is awaited, `:silent' those that did not answer the last
time, `:catch-up' is the number of groups to be looked at in full
later, `:left-alone' is an alist from folders and groups to why
they are not checked,
`:last-error' is (GROUP . TEXT), where a mail source is named by
its directory, `:checks' is a plist of counts."
  (list :ready (mailsync-gnus-ready-p)
        :pending (hash-table-count mailsync-gnus--pending)
        :asked (mapcar #'car mailsync-gnus--sent)
        :silent (cl-loop for (name . server) in
mailsync-gnus--imap-servers-asked
                         when (> (mailsync-gnus--imap-failures server) 0)
                         collect name)
        :catch-up (hash-table-count mailsync-gnus--catch-up)
        :left-alone (let ((alist nil))
                      (maphash (lambda (name reason)
                                 (push (cons name reason) alist))
                               mailsync-gnus--left-alone)
                      (nreverse alist))
        :last-error mailsync-gnus--last-error
        :checks (copy-sequence mailsync-gnus--counts)))

;;;; What the user calls

;;;###autoload
(defun mailsync-gnus-check (&optional groups)
  "Check GROUPS of Gnus now, and return when that is done.
GROUPS are full names of groups, a list or one string; nil means
all that Gnus has active.  Interactively, check the groups that
are marked with the process mark in *Group*, or all that are
active.

Return an alist from group to `checked', `failed' or the reason,
a string, why the group is left alone; nil if Gnus does not run."
  (interactive
   (list (and (mailsync-gnus-ready-p)
              (buffer-local-value 'gnus-group-marked
                                  (get-buffer gnus-group-buffer)))))
  (if (not (mailsync-gnus-ready-p))
      (when (called-interactively-p 'any)
        (user-error "Gnus is not running"))
    (unless mailsync-gnus--running
      (let ((results (mailsync-gnus--check-now
                      (if groups
                          (ensure-list groups)
                        (mailsync-gnus--active-groups)))))
        (when mailsync-gnus--risen
          (mailsync-gnus--run-hooks))
        results))))

(defun mailsync-gnus--check-now (groups)
  "Check GROUPS, wait for it, and return an alist from group to result."
  (let ((mailsync-gnus--running t)
        (servers nil)
        (results nil))
    (cl-flet ((take (report)
                (mailsync-gnus--report report nil)
                (pcase-let ((`(,group ,result) report))
                  (push (cons group (if (stringp result) 'failed result))
                        results))))
      (dolist (group groups)
        (let* ((reason (mailsync-gnus--why-not group))
               (method (unless reason (gnus-find-method-for-group group))))
          (cond
           (reason
            (push (cons group reason) results)
            (mailsync-gnus--leave-alone group reason))
           ((mailsync-gnus--imap-asynchronous-p method)
            (push group (alist-get method servers nil nil #'equal)))
           (t
            (let (report)
              (while (eq 'partial
                         (nth 1 (setq report (mailsync-gnus--check-group
                                              group '(unknown))))))
              (take report))))))
      ;; All groups of a server in one go, as in the background.
      (pcase-dolist (`(,method . ,members) servers)
        (mapc #'take (mailsync-gnus--imap-check-groups method
                                                       (nreverse members)))))
    (nreverse results)))

;; The names of mailsync 0.4, which users' mswatch configurations name.
;;;###autoload
(define-obsolete-function-alias 'mailsync/gnus-check #'mailsync-gnus-check "0.5")
;;;###autoload
(define-obsolete-function-alias 'mailsync/gnus-check-handler
  #'mailsync-gnus-check "0.5")

(provide 'mailsync-gnus)
;;; mailsync-gnus.el ends here
