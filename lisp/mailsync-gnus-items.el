;;; mailsync-gnus-items.el --- The folders that wait for Gnus's check  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A changed folder is an item (`mailsync-gnus--item').  It waits until its
;; groups are known; then it has a claim on each of them; a check of a
;; group settles the claims of all its items; an item without claims is
;; settled, and whoever asked for it is told.  Where the folder is a mail
;; source, it is fetched before that, and the groups to which its mail went
;; are claimed too.  A folder that changes while it is being checked waits
;; for its turn as a new item, so there are two at most for a folder, and
;; each change is followed by a check.
;;
;; Nothing here checks a group, which is mailsync-gnus-work.el's business, or
;; sets a timer, which is mailsync-gnus.el's.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-change)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-sources)
(require 'mailsync-gnus-news)

;;;; Internal variables

(defconst mailsync-gnus--resolve-again 60
  "Ask again for file names to be resolved after so many seconds.")

(defconst mailsync-gnus--calls-max 64
  "So many callers at most may wait for one folder.")

(defconst mailsync-gnus--left-alone-max 500
  "Remember so many folders and groups at most that were left alone.")

(defvar mailsync-gnus--pending (make-hash-table :test #'equal)
  "The items that wait or are being checked, by key.")

(defvar mailsync-gnus--next (make-hash-table :test #'equal)
  "The items that wait for the one with the same key to be settled.")

(defvar mailsync-gnus--calls (make-hash-table :test #'eq)
  "The calls that are not answered, as keys.")

(defvar mailsync-gnus--unmapped nil
  "The items whose groups are not known yet, latest first.")

(defvar mailsync-gnus--claims (make-hash-table :test #'equal)
  "Group to the items that wait for its check.")

(defvar mailsync-gnus--queue nil
  "The groups that are claimed, in the order in which they were.
Some may have been checked since.")

(defvar mailsync-gnus--queue-tail nil
  "Groups to be added to `mailsync-gnus--queue', latest first.")

(defvar mailsync-gnus--fetches nil
  "The mail sources to be fetched, the longest waiting first.
An alist from (DIRECTORY . SOURCE) to the items that wait for it.")

(defvar mailsync-gnus--left-alone (make-hash-table :test #'equal)
  "Folder or group to why it was not checked.")

(defvar mailsync-gnus--names-late nil
  "Non-nil if file names are not resolved in time.")

;;;; Declarations

(declare-function mailsync-gnus--claim-newcomer "mailsync-gnus-subscribe"
                  (item groups))
(declare-function mailsync-gnus--sought-p "mailsync-gnus-subscribe" (item))
(declare-function mailsync--checked-late "mailsync-dispatch"
                  (account change result))
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--run-hook-safely "mailsync-log" (hook &rest args))

;;;; Items and calls

(cl-defstruct (mailsync-gnus--item
               (:constructor mailsync-gnus--make-item)
               (:copier nil))
  "A folder that changed."
  key                  ; (ACCOUNT FOLDER DIRECTORY)
  change               ; plist, merged
  calls                ; whom to tell, latest first
  (stamp 0)            ; requests for file names made when it changed
  begun                ; non-nil: a group of it was checked or asked for
  sources              ; the mail sources still to be fetched
  groups               ; the groups still to be checked
  (result 'no-group)   ; so far
  again                ; non-nil: it has to be checked once more
  late                 ; non-nil: it was, as far as its groups were known
  news)                ; ((GROUP OLD NEW COUNT . MESSAGES) ...)

(cl-defstruct (mailsync-gnus--call
               (:constructor mailsync-gnus--make-call)
               (:copier nil))
  "A call of `mailsync-gnus-check-changes'."
  account changes done
  (left 0)             ; folders that are not settled
  results              ; alist: folder -> result
  news)                ; changes that brought a message

(defun mailsync-gnus--merge (item change)
  "Merge CHANGE into that of ITEM."
  (let ((earlier (mailsync-gnus--item-change item)))
    (setf (mailsync-gnus--item-change item)
          (if earlier (mailsync-change-merge earlier change) change)
          (mailsync-gnus--item-stamp item) mailsync-gnus--index-request)))

(defun mailsync-gnus--add (change call)
  "Make CHANGE wait for its check, on behalf of CALL (nil: of nobody)."
  (let* ((key (list (plist-get change :account)
                    (plist-get change :folder)
                    (or (plist-get change :truename)
                        (plist-get change :directory))))
         (present (gethash key mailsync-gnus--pending))
         ;; What happens now may not be seen by a check that has begun.
         (table (if (and present (mailsync-gnus--item-begun present))
                    mailsync-gnus--next
                  mailsync-gnus--pending))
         (item (gethash key table))
         (new (null item)))
    (when new
      (setq item (mailsync-gnus--make-item :key key))
      (puthash key item table))
    (when (and (eq table mailsync-gnus--pending)
               (or new
                   ;; What was found out when nothing had to be
                   ;; fetched does not hold any more.
                   (and (mailsync-gnus--calls-for-fetch-p change)
                        (not (mailsync-gnus--calls-for-fetch-p
                              (mailsync-gnus--item-change item))))))
      (cl-pushnew item mailsync-gnus--unmapped))
    (mailsync-gnus--merge item change)
    (when call
      (cl-incf (mailsync-gnus--call-left call))
      (push call (mailsync-gnus--item-calls item))
      ;; As long as nobody can be served (a question may stand in
      ;; the minibuffer for hours) the callers must not pile up.
      (when (nthcdr mailsync-gnus--calls-max (mailsync-gnus--item-calls item))
        (let ((oldest (car (last (mailsync-gnus--item-calls item)))))
          (setf (mailsync-gnus--item-calls item)
                (nbutlast (mailsync-gnus--item-calls item)))
          (mailsync-gnus--answer oldest item 'failed nil))))
    item))

(defun mailsync-gnus--answer (call item result news)
  "Tell CALL that the folder of ITEM has RESULT and brought NEWS."
  (let ((change (mailsync-gnus--item-change item)))
    (push (cons (plist-get change :folder) result)
          (mailsync-gnus--call-results call))
    (when news
      (push (mailsync-gnus--news-change change news)
            (mailsync-gnus--call-news call)))
    (when (zerop (cl-decf (mailsync-gnus--call-left call)))
      (mailsync-gnus--finish-call call))))

(defun mailsync-gnus--add-anew ()
  "Have all folders wait for their check as if nothing of it had begun.
Return the items that they were; who waits for these is told nothing."
  (let ((pending (make-hash-table :test #'equal))
        (next (make-hash-table :test #'equal))
        items unmapped)
    ;; The later of two changes of a folder comes last: it is the one that stands.
    (dolist (table (list mailsync-gnus--next mailsync-gnus--pending))
      (maphash (lambda (_ item) (push item items)) table))
    (let ((mailsync-gnus--pending pending)
          (mailsync-gnus--next next)
          (mailsync-gnus--unmapped nil))
      (dolist (item items)
        (mailsync-gnus--add (mailsync-gnus--item-change item) nil))
      (setq unmapped mailsync-gnus--unmapped))
    ;; At once: a quit before has changed nothing.
    (setq mailsync-gnus--pending pending
          mailsync-gnus--next next
          mailsync-gnus--unmapped unmapped)
    items))

(defun mailsync-gnus--begin-call (call)
  "Have the folders of CALL wait for their check.
Nobody is told of CALL before `mailsync-gnus--begun'."
  (puthash call t mailsync-gnus--calls)
  ;; One is ours, until then.
  (setf (mailsync-gnus--call-left call) 1
        (mailsync-gnus--call-results call) nil
        (mailsync-gnus--call-news call) nil)
  (dolist (change (mailsync-gnus--call-changes call))
    (mailsync-gnus--add change call)))

(defun mailsync-gnus--begun (call)
  "All is ready for CALL, which `mailsync-gnus--begin-call' has begun.
It is done where none of its folders waits any more."
  (when (zerop (cl-decf (mailsync-gnus--call-left call)))
    (mailsync-gnus--finish-call call)))

(defun mailsync-gnus--finish-call (call)
  "Tell whoever made CALL that its folders are settled."
  (condition-case err
      (funcall (mailsync-gnus--call-done call)
               (reverse (mailsync-gnus--call-results call))
               (reverse (mailsync-gnus--call-news call)))
    (error (mailsync-log-add 'error "after a check of %s: %s"
                             (mailsync-gnus--call-account call)
                             (error-message-string err))))
  ;; Last: what a quit has ended is begun anew.
  (remhash call mailsync-gnus--calls))

(defun mailsync-gnus--whole-p ()
  "Non-nil if each item will have its turn, and each call its answer.
It is nil where a quit has come between two steps that belong
together: an item is in none of the lists by which it goes on, or a
call counts other folders than wait on its behalf."
  (let ((left (make-hash-table :test #'eq))
        (queued (make-hash-table :test #'equal))
        (unmapped (make-hash-table :test #'eq)))
    (dolist (group (append mailsync-gnus--queue mailsync-gnus--queue-tail))
      (puthash group t queued))
    (dolist (item mailsync-gnus--unmapped)
      (puthash item t unmapped))
    (catch 'not
      (dolist (table (list mailsync-gnus--pending mailsync-gnus--next))
        (maphash (lambda (_ item)
                   (dolist (call (mailsync-gnus--item-calls item))
                     (cl-incf (gethash call left 0))))
                 table))
      (maphash (lambda (call _)
                 (unless (eql (gethash call left)
                              (mailsync-gnus--call-left call))
                   (throw 'not nil)))
               mailsync-gnus--calls)
      (maphash (lambda (_ item)
                 (unless (or (gethash item unmapped)
                             (mailsync-gnus--item-sources item)
                             (mailsync-gnus--item-groups item)
                             (mailsync-gnus--sought-p item))
                   (throw 'not nil))
                 (dolist (group (mailsync-gnus--item-groups item))
                   (unless (and (memq item (gethash group mailsync-gnus--claims))
                                (gethash group queued))
                     (throw 'not nil)))
                 (dolist (source (mailsync-gnus--item-sources item))
                   (unless (memq item (cdr (assoc source mailsync-gnus--fetches)))
                     (throw 'not nil))))
               mailsync-gnus--pending)
      (maphash (lambda (key _)
                 (unless (gethash key mailsync-gnus--pending)
                   (throw 'not nil)))
               mailsync-gnus--next)
      t)))

(defun mailsync-gnus--answer-all (item result &optional news)
  "Tell everyone who waits for ITEM its RESULT, and the first one the NEWS."
  (let ((calls (nreverse (mailsync-gnus--item-calls item))))
    (setf (mailsync-gnus--item-calls item) nil)
    (if (null calls)
        (mailsync-gnus--answer-late item result news)
      (dolist (call calls)
        (mailsync-gnus--answer call item result news)
        (setq news nil)))))

(defun mailsync-gnus--answer-late (item result news)
  "Tell of the RESULT and the NEWS of ITEM, after all callers were answered."
  (let* ((change (mailsync-gnus--item-change item))
         (account (plist-get change :account)))
    ;; Else it still waits.
    (unless (eq result 'not-running)
      (mailsync--checked-late account change result))
    (when news
      (mailsync--run-hook-safely 'mailsync-new-mail-functions account
                                 (list (mailsync-gnus--news-change change news))))))

(defun mailsync-gnus--settle (item)
  "ITEM has no group left to be checked: tell, and go on with the next."
  (let* ((key (mailsync-gnus--item-key item))
         (next (gethash key mailsync-gnus--next)))
    (remhash key mailsync-gnus--pending)
    (remhash key mailsync-gnus--next)
    (when next
      (puthash key next mailsync-gnus--pending)
      (push next mailsync-gnus--unmapped))
    (when-let* ((again (mailsync-gnus--item-again item)))
      (setf (mailsync-gnus--item-late
             (mailsync-gnus--add (mailsync-gnus--item-change item) nil))
            (eq again 'late)))
    (mailsync-gnus--answer-all item (mailsync-gnus--item-result item)
                               (nreverse (mailsync-gnus--item-news item)))))

(defun mailsync-gnus--settle-if-done (item)
  "Settle ITEM if nothing of it is left to be fetched or checked."
  (unless (or (mailsync-gnus--item-sources item)
              (mailsync-gnus--item-groups item))
    (mailsync-gnus--settle item)))

(defun mailsync-gnus--leave-alone (name reason)
  "Remember that the folder or group NAME was not checked, because of REASON."
  (remhash name mailsync-gnus--left-alone)
  (when (>= (hash-table-count mailsync-gnus--left-alone)
            mailsync-gnus--left-alone-max)
    (catch 'first
      (maphash (lambda (key _)
                 (remhash key mailsync-gnus--left-alone)
                 (throw 'first nil))
               mailsync-gnus--left-alone)))
  (puthash name reason mailsync-gnus--left-alone))

;;;; From items to claims

(defun mailsync-gnus--deleted-p (change)
  "Non-nil if the folder of CHANGE is gone, so that there is nothing to check."
  (let ((kinds (plist-get change :kinds)))
    (and (memq 'folder-deleted kinds)
         (not (memq 'folder-created kinds))
         (not (memq 'unknown kinds)))))

(defun mailsync-gnus--map-items ()
  "Find the groups of the items that wait for it, as far as they are known.
Return non-nil if file names have to be resolved for the others."
  (let ((items (nreverse mailsync-gnus--unmapped))
        (waiting nil))
    (setq mailsync-gnus--unmapped nil)
    (dolist (item items)
      (when (eq item (gethash (mailsync-gnus--item-key item)
                              mailsync-gnus--pending))
        (let ((groups (mailsync-gnus--item-known-groups item)))
          (cond
           ((not (eq groups 'wait))
            (or (mailsync-gnus--claim-newcomer item groups)
                (mailsync-gnus--claim item groups)))
           ((and mailsync-gnus--names-late
                 (or (mailsync-gnus--item-calls item)
                     (not (mailsync-gnus--item-late item))))
            ;; Nobody shall wait for a file system that does not
            ;; answer.  When it does, the folder is checked again.
            (setf (mailsync-gnus--item-again item) 'late)
            (mailsync-gnus--claim item (mailsync-gnus--all-groups
                                        (mailsync-gnus--item-change item))))
           (t
            (push item waiting))))))
    (setq mailsync-gnus--unmapped
          (append mailsync-gnus--unmapped waiting))
    (and waiting (mailsync-gnus--may-resolve-p))))

(defun mailsync-gnus--may-resolve-p ()
  "Non-nil unless an answer of `mailsync--resolve' is on its way."
  (or (null mailsync-gnus--index-asked)
      (> (- (float-time) mailsync-gnus--index-asked)
         mailsync-gnus--resolve-again)))

(defun mailsync-gnus--mappable-p ()
  "Non-nil if the groups of some item can be found now."
  (and mailsync-gnus--unmapped
       (or (mailsync-gnus--may-resolve-p)
           (cl-some (lambda (item)
                      (if mailsync-gnus--names-late
                          (or (mailsync-gnus--item-calls item)
                              (not (mailsync-gnus--item-late item)))
                        (not (eq 'wait
                                 (mailsync-gnus--item-known-groups item)))))
                    mailsync-gnus--unmapped))))

(defun mailsync-gnus--item-known-groups (item)
  "The groups of ITEM, or `wait' if file names must be resolved first."
  (let* ((change (mailsync-gnus--item-change item))
         (configured (mailsync-gnus--configured-groups change))
         ;; Gnus's directories may have changed since their names
         ;; were resolved.
         (old (<= mailsync-gnus--index-answer
                  (mailsync-gnus--item-stamp item))))
    (cond
     ((and configured
           (or (mailsync-gnus--deleted-p change)
               (not (mailsync-gnus--calls-for-fetch-p change))
               (not (cl-some (lambda (source) (eq (car-safe source) 'maildir))
                             (mailsync-gnus--mail-sources)))))
      (car configured))
     ((mailsync-gnus--deleted-p change) nil)
     ((not (mailsync-gnus--index-current-p)) 'wait)
     ((and old (mailsync-gnus--new-source-p change)) 'wait)
     (configured (car configured))
     ((mailsync-gnus--all-groups change))
     ((mailsync-gnus--sources change) nil)
     ;; An unknown folder.
     (old 'wait)
     (t nil))))

(defun mailsync-gnus--new-source-p (change)
  "Non-nil if CHANGE's folder may be a mail source that was not there before."
  (let ((kinds (plist-get change :kinds)))
    (and (or (memq 'folder-created kinds) (memq 'unknown kinds))
         (null (mailsync-gnus--sources change))
         (mailsync-gnus--unresolved-sources-p))))

(defun mailsync-gnus--claim (item groups)
  "Make ITEM wait for the check of GROUPS, except those to be left alone.
If its folder is a mail source, it waits for the fetch as well."
  (let* ((change (mailsync-gnus--item-change item))
         (folder (plist-get change :folder))
         (sources (unless (mailsync-gnus--deleted-p change)
                    (mailsync-gnus--sources change)))
         (due nil))
    (dolist (group (delete-dups (copy-sequence groups)))
      (let ((reason (mailsync-gnus--why-not group)))
        (if reason
            (mailsync-gnus--leave-alone group reason)
          (push group due))))
    (if (or groups sources)
        (remhash folder mailsync-gnus--left-alone)
      (mailsync-gnus--leave-alone
       folder
       (cond ((mailsync-gnus--deleted-p change) "folder deleted")
             ((mailsync-gnus--ambiguous-p (plist-get change :account))
              "several nnimap servers may have it: the account needs :gnus-server")
             (t "no group in Gnus"))))
    (setf (mailsync-gnus--item-groups item) due)
    (dolist (group due)
      (mailsync-gnus--claim-group item group))
    (cond
     ((null sources))
     ((mailsync-gnus--calls-for-fetch-p change)
      (mailsync-gnus--claim-sources item sources))
     ;; It was emptied, by Gnus most likely: that was looked at then.
     (t (setf (mailsync-gnus--item-result item) 'checked)))
    (mailsync-gnus--settle-if-done item)))

(defun mailsync-gnus--claim-sources (item sources)
  "Make ITEM wait for the fetch of SOURCES, except those to be left alone.
SOURCES is a list of (DIRECTORY . SOURCE)."
  (let ((method (mailsync-gnus--fetching-method)))
    (dolist (source sources)
      (let ((reason (mailsync-gnus--why-no-fetch (cdr source) method)))
        (if reason
            (mailsync-gnus--leave-alone (car source) reason)
          (remhash (car source) mailsync-gnus--left-alone)
          (cl-pushnew source (mailsync-gnus--item-sources item) :test #'equal)
          (let ((entry (assoc source mailsync-gnus--fetches)))
            (if entry
                (cl-pushnew item (cdr entry))
              (setq mailsync-gnus--fetches
                    (append mailsync-gnus--fetches
                            (list (list source item)))))))))))

(defun mailsync-gnus--claim-group (item group)
  "Make ITEM wait for the check of GROUP."
  (unless (gethash group mailsync-gnus--claims)
    (push group mailsync-gnus--queue-tail))
  (cl-pushnew item (gethash group mailsync-gnus--claims)))

(defun mailsync-gnus--unclaim-group (group items)
  "GROUP was checked for ITEMS: they do not wait for it any more.
Another folder may have claimed it since it was asked for, as where
mail is split: that one waits for the next check."
  (let ((rest (seq-difference (gethash group mailsync-gnus--claims) items #'eq)))
    (if rest
        (puthash group rest mailsync-gnus--claims)
      (remhash group mailsync-gnus--claims))))

(defun mailsync-gnus--queue ()
  "The groups that are claimed, the longest waiting first."
  (setq mailsync-gnus--queue
        (nconc mailsync-gnus--queue (nreverse mailsync-gnus--queue-tail))
        mailsync-gnus--queue-tail nil)
  ;; The work is done from the front: what is checked is there.
  (while (and mailsync-gnus--queue
              (not (gethash (car mailsync-gnus--queue) mailsync-gnus--claims)))
    (pop mailsync-gnus--queue))
  mailsync-gnus--queue)

(provide 'mailsync-gnus-items)
;;; mailsync-gnus-items.el ends here
