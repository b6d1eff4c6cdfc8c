;;; mailsync-gnus-work.el --- What there is to be done in Gnus, in small pieces  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What there is to be done for the folders that wait
;; (mailsync-gnus-items.el), one small piece after the other: fetch a mail
;; source, split, check a group, ask an nnimap server or take its answer,
;; sum up a group of groups, run the hooks, catch up.  Each piece is a list
;; (FUNCTION . ARGUMENTS) that `mailsync-gnus--next-unit' gives; when they
;; are done is for mailsync-gnus.el.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-change)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-split)
(require 'mailsync-gnus-sources)
(require 'mailsync-gnus-items)
(require 'mailsync-gnus-subscribe)
(require 'mailsync-gnus-moment)
(require 'mailsync-gnus-news)
(require 'mailsync-gnus-headers)
(require 'mailsync-gnus-summary)
(require 'mailsync-options)

;;;; Internal variables

(defconst mailsync-gnus--asked-max 100
  "Ask an nnimap server for so many groups at most in one go.
To take in the answer costs time for each of them.")

(defconst mailsync-gnus--cheap 0.05
  "A look in full that takes so many seconds needs no longer idle moment.")

(defvar mailsync-gnus--sent nil
  "Alist from the name of an nnimap server to what it was asked.
The rest of each element is an alist from group to items.")

(defvar mailsync-gnus--already-split nil
  "Claimed groups whose mail was split since they were claimed.")

(defvar mailsync-gnus--virtual nil
  "The groups made of others, of which members were checked.")

(defvar mailsync-gnus--catch-up (make-hash-table :test #'equal)
  "Group that was not looked at in full to (TIME . KINDS).
TIME is when that was last, KINDS is what has happened in it.")

(defvar mailsync-gnus--quit-time nil
  "Time when the user last quit a check, or nil.")

(defvar mailsync-gnus--risen nil
  "Time when a count rose for which Gnus's hooks have not run yet, or nil.")

(defvar mailsync-gnus--last-error nil
  "The last check or fetch that failed, (GROUP-OR-DIRECTORY . TEXT), or nil.")

(defvar mailsync-gnus--counts nil
  "How much was done: a plist of counts.
`:groups', `:fetches', `:errors' and `:slices'.")

;;;; Declarations

(defvar gnus-group-buffer)
(defvar gnus-inhibit-demon)

(declare-function gnus-find-method-for-group "gnus" (group &optional info))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--once "mailsync-log" (key level format &rest args))
(declare-function mailsync--run-hook-safely "mailsync-log" (hook &rest args))
(declare-function mailsync-gnus--wake "mailsync-gnus" ())

;;;; Which piece is next

(defun mailsync-gnus--catch-up-wait ()
  "Seconds until a group may be looked at in full, nil if none has to be.
Nil also if the user is not idle enough: an idle timer tells then."
  (let ((first nil)
        (idle (mailsync-gnus--idle)))
    (when (and idle (>= (+ idle 0.01) (mailsync--seconds 'mailsync-gnus-catch-up-delay)))
      (maphash (lambda (group entry)
                 (let ((wait (mailsync-gnus--catch-up-wait-for
                              group (car entry) idle)))
                   (setq first (min (or first wait) wait))))
               mailsync-gnus--catch-up))
    first))

(defun mailsync-gnus--catch-up-wait-for (group since idle)
  "Seconds until GROUP may be looked at in full, which was SINCE a time.
Emacs has been idle for IDLE seconds.  Such a look cannot be
interrupted: the longer it takes, the surer the user must be gone."
  (max 0
       (- (+ since (mailsync--seconds 'mailsync-gnus-catch-up-delay)) (float-time))
       (- (* (mailsync--seconds 'mailsync-gnus-catch-up-delay)
             (max 1 (/ (gethash group mailsync-gnus--costs 0)
                       mailsync-gnus--cheap)))
          idle 0.01)))

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
       (mailsync-gnus--newcomer-unit #'later)
       (catch 'unit
         (dolist (group (mailsync-gnus--queue))
           (when-let* ((items (gethash group mailsync-gnus--claims)))
             (let ((method (and (mailsync-gnus--entry group)
                                (gnus-find-method-for-group group))))
               (cond
                ((and (mailsync-gnus--to-be-split-p group method)
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

(defun mailsync-gnus--to-be-split-p (group method)
  "Non-nil if GROUP of METHOD is claimed and its mail is to be split first.
To split makes messages vanish: that alone must not lead to more."
  (and (mailsync-gnus--splits-p group method)
       (not (member group mailsync-gnus--already-split))
       (cl-some (lambda (item)
                  (mailsync-gnus--calls-for-fetch-p
                   (mailsync-gnus--item-change item)))
                (gethash group mailsync-gnus--claims))))

;;;; The pieces

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

(defun mailsync-gnus--light-p (group kinds items)
  "Non-nil if it is enough to count GROUP for now, in which KINDS happened.
ITEMS claim it.  It is looked at in full later, in a longer idle moment."
  (let ((entry (gethash group mailsync-gnus--catch-up)))
    (and (eq (car (gnus-find-method-for-group group)) 'nnmaildir)
         (eq mailsync-gnus-check-method 'parts)
         (or mailsync-gnus--hurry
             (equal kinds '(new))
             ;; Our own move to cur/, or that of another reader.
             (and entry
                  (null (cl-set-difference kinds '(new flags)))
                  (cl-notany (lambda (item)
                               (mailsync-change-news-p
                                'flags (mailsync-gnus--item-change item)))
                             items))))))

(defun mailsync-gnus--check-for (group kinds items)
  "Check GROUP, in which changes of KINDS happened, on behalf of ITEMS."
  (let* ((light (mailsync-gnus--light-p group kinds items))
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
That is the mail of all its inboxes.  Whoever claims one of them
claims them all, and the groups to which mail went, too."
  (let* ((method (gnus-find-method-for-group group))
         (inboxes (mailsync-gnus--inboxes method))
         (items (cl-remove-duplicates
                 (cl-loop for inbox in inboxes
                          append (gethash inbox mailsync-gnus--claims)))))
    (mailsync-gnus--begin items)
    (pcase-let ((`(,result ,groups) (unless (mailsync-gnus--why-not group)
                                      (mailsync-gnus--split method))))
      (when groups
        (mailsync-gnus--claim-destinations
         (cl-union groups (cl-remove-if-not #'mailsync-gnus--entry inboxes)
                   :test #'equal)
         items))
      (pcase result
        ('quit (setq mailsync-gnus--quit-time (float-time)))
        ('partial                       ; it is the others' turn first
         (setq mailsync-gnus--queue (delete group mailsync-gnus--queue))
         (push group mailsync-gnus--queue-tail))
        (_
         (when (stringp result)
           (mailsync-gnus--count :errors)
           (setq mailsync-gnus--last-error (cons group result))
           (mailsync--once (list 'gnus-split group result) 'error
                           "%s: splitting failed: %s" group result))
         ;; If the server is silent it is tried again with the check;
         ;; else the check follows, whatever was wrong.
         (when (or (not (stringp result))
                   (eql 0 (mailsync-gnus--imap-wait
                           (mailsync-gnus--imap-server method))))
           (dolist (inbox inboxes)
             (when (gethash inbox mailsync-gnus--claims)
               (cl-pushnew inbox mailsync-gnus--already-split
                           :test #'equal)))))))))

(defun mailsync-gnus--claim-destinations (groups items)
  "Make ITEMS wait for GROUPS, to which their mail went.
Except those to be left alone."
  (dolist (group groups)
    (let ((reason (or (mailsync-gnus--subscribe-destination group)
                      (mailsync-gnus--why-not group))))
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
  "Bring one group that is made of others up to date."
  (let* ((group (pop mailsync-gnus--virtual))
         (reason (mailsync-gnus--why-not group)))
    (cond
     (reason (mailsync-gnus--leave-alone group reason))
     ((eq (car (gnus-find-method-for-group group)) 'nnselect)
      (mailsync-gnus--report (mailsync-gnus--check-group group '(unknown)) nil))
     (t
      (mailsync-gnus--report (mailsync-gnus--check-virtual group) nil)))))

(defun mailsync-gnus--catch-up-left (group)
  "The user has left GROUP: look at it in full in the next longer idle moment.
nnmaildir may have forgotten messages while it was open, and Gnus
makes what it has of their flags what the Summary had."
  (when (and (eq mailsync-gnus-check-method 'parts)
             (eq (car (gnus-find-method-for-group group)) 'nnmaildir))
    (puthash group t mailsync-gnus--doubted)
    (puthash group (list 0 'flags) mailsync-gnus--catch-up)
    (mailsync-gnus--wake)))

(defun mailsync-gnus--catch-up-one ()
  "Look in full at the group that has waited for it the longest."
  (let ((first nil) (group nil)
        (idle (or (mailsync-gnus--idle) 0)))
    (maphash (lambda (key entry)
               (when (and (or (null first) (< (car entry) (car first)))
                          (zerop (mailsync-gnus--catch-up-wait-for
                                  key (car entry) idle)))
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
  (mailsync-gnus--unclaim-group group items)
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
  (when (and old new (> new old))
    (unless mailsync-gnus--risen
      (setq mailsync-gnus--risen (float-time))))
  (let* ((arrived (mailsync-gnus--news-end group (and items new)))
         (news (and arrived `(,group ,(or old 0) ,new . ,arrived))))
    (dolist (item items)
      ;; Of the folders that wait for the group, one is told: the first.
      (mailsync-gnus--item-checked item group result
                                   (and (eq item (car (last items))) news))))
  (mailsync-gnus--summary-checked group))

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
                              name)
                       ;; Once it is checked nobody has it split.
                       (not (mailsync-gnus--to-be-split-p group method)))
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
  (unless (mailsync-gnus--finish-newcomers server)
    (mailsync-gnus--finish-check server)))

(defun mailsync-gnus--finish-check (server)
  "Take the answer of SERVER about groups, or notice that there is none."
  (let* ((name (mailsync-gnus--imap-name server))
         (asked (cdr (assoc name mailsync-gnus--sent)))
         (dead (or (eq (mailsync-gnus--imap-state server) 'dead)
                   (not (mailsync-gnus--imap-buffer-p server))))
         (reports (mailsync-gnus--headers-finish server)))
    (unless (eq reports 'wait)
      (setq mailsync-gnus--sent
            (assoc-delete-all name mailsync-gnus--sent))
      (dolist (report reports)
        (mailsync-gnus--report-imap report (cdr (assoc (car report) asked))
                                    dead)))))

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
      (when (or (and silent (stringp result))
                (gethash group mailsync-gnus--flags-open))
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
  (mailsync-gnus--news-drop)
  (mailsync-gnus--summary-drop)
  (clrhash mailsync-gnus--catch-up)
  (clrhash mailsync-gnus--partial)
  (clrhash mailsync-gnus--known)
  (clrhash mailsync-gnus--scanned)
  (clrhash mailsync-gnus--ahead)
  (clrhash mailsync-gnus--costs)
  (clrhash mailsync-gnus--shown)
  (setq mailsync-gnus--already-split nil
        mailsync-gnus--split-seen nil
        mailsync-gnus--virtual nil)
  (mailsync-gnus--forget-claims))

(defun mailsync-gnus--forget-claims ()
  "Forget for whom which groups were to be checked, and what is looked for."
  (clrhash mailsync-gnus--claims)
  (mailsync-gnus--forget-newcomers)
  (setq mailsync-gnus--fetches nil
        mailsync-gnus--queue nil
        mailsync-gnus--queue-tail nil
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

(provide 'mailsync-gnus-work)
;;; mailsync-gnus-work.el ends here
