;;; mailsync-history.el --- What became of the last changes  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; For the status: of each folder that was heard of the last change, check and
;; sync, and of the last few changes their whole story, from the engine's
;; notice to the sync.  It listens where changes, checks and syncs pass
;; (mailsync-dispatch.el, mailsync-sync.el), and decides nothing.  What is kept
;; grows with the folders, never with what happens in them.  How it is shown
;; is the business of mailsync-folders.el, mailsync-history-list.el and
;; mailsync-status.el.

;;; Code:

(eval-when-compile (require 'cl-lib))
(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-options)

;;;; Internal variables

(cl-defstruct (mailsync-history-folder
               (:copier nil)
               (:constructor mailsync-history--make-folder))
  "What happened in a folder last.  Times are floats, as of `float-time'."
  account name directory truename
  ;; Of the last change: when it was noticed, what, and by whom.
  changed kinds origins
  ;; When it was checked last, and what came of it.
  checked result)

(cl-defstruct (mailsync-history-story
               (:copier nil)
               (:constructor mailsync-history--make-story))
  "One change, and what became of it.  Times are as in the folder.
FOLDER is nil for a check of many folders at once, COUNT how many those are.
CHANGES are those that it is of, until they are checked."
  account folder directory truename count kinds origins
  seen told checked result synced status changes)

(defconst mailsync-history--many 5
  "Of so many folders that are only to be looked at, each is a story.
More in one go are one.")

(defvar mailsync-history--folders (make-hash-table :test #'equal)
  "Hash table from (ACCOUNT . TRUENAME) to what happened there last.")

(defvar mailsync-history-sync-functions '(mailsync-folders-synced)
  "Functions called with an account and names of its folders that were synced.
The names are in a hash table, or nil for everything.")

(declare-function mailsync-folders-news "mailsync-folders" (keys))
(declare-function mailsync-folders-synced "mailsync-folders" (account names))

(defvar mailsync-history--accounts (make-hash-table :test #'equal)
  "Hash table from accounts to (TIME . STATUS) of their last sync of everything.")

(defvar mailsync-history--syncs (make-hash-table :test #'equal)
  "Hash table from (ACCOUNT . NAME) of folders to (TIME . STATUS).
That is their last sync by name, since the last one of everything.")

(defvar mailsync-history--stories nil
  "The stories that are kept, newest first.")

(defvar mailsync-history--of-changes (make-hash-table :test #'eq)
  "Hash table from changes that are not checked to their stories that are kept.")

(defvar mailsync-history-functions '(mailsync-folders-news)
  "Functions called with a list of keys of folders of which there is news.
A key is (ACCOUNT . TRUENAME).")

;;;; Code

(defun mailsync-history-folder (account truename)
  "What happened last in the folder of ACCOUNT with TRUENAME, or nil."
  (gethash (cons account truename) mailsync-history--folders))

(defun mailsync-history-folders (&optional account)
  "What happened last in the folders (of ACCOUNT), those that were heard of."
  (let (folders)
    (maphash (lambda (key folder)
               (when (or (null account) (equal account (car key)))
                 (push folder folders)))
             mailsync-history--folders)
    (nreverse folders)))

(defun mailsync-history-stories ()
  "The stories that are kept, newest first."
  mailsync-history--stories)

(defun mailsync-history-last-result (story)
  "What came of the last check of the folder of STORY.
Others may have come after the one that is told there."
  (let ((known (mailsync-history-folder (mailsync-history-story-account story)
                                        (mailsync-history-story-truename story))))
    (if (and known (mailsync-history-folder-checked known))
        (mailsync-history-folder-result known)
      (mailsync-history-story-result story))))

(defun mailsync-history-sync (account name)
  "The last sync of the folder NAME of ACCOUNT: (TIME . STATUS), or nil."
  (or (gethash (cons account name) mailsync-history--syncs)
      (gethash account mailsync-history--accounts)))

(defun mailsync-history--keep-story (story)
  "Keep STORY, and as many others as there may be."
  (push story mailsync-history--stories)
  (dolist (change (mailsync-history-story-changes story))
    (puthash change story mailsync-history--of-changes))
  (when-let* ((last (nthcdr (1- (max 1 (mailsync--natural 'mailsync-history-size)))
                            mailsync-history--stories)))
    (dolist (old (cdr last))
      (dolist (change (mailsync-history-story-changes old))
        (remhash change mailsync-history--of-changes)))
    (setcdr last nil)))

(defun mailsync-history-changed (account changes)
  "ACCOUNT has CHANGES, of which Gnus is told now."
  (let ((now (float-time))
        doubts keys)
    (dolist (change changes)
      (let* ((truename (plist-get change :truename))
             (key (cons account truename))
             (kinds (plist-get change :kinds))
             (seen (or (plist-get change :seen) now))
             (known (gethash key mailsync-history--folders)))
        (push key keys)
        (unless known
          (setq known (puthash key (mailsync-history--make-folder
                                    :account account :truename truename)
                               mailsync-history--folders)))
        (setf (mailsync-history-folder-name known) (plist-get change :folder)
              (mailsync-history-folder-directory known)
              (plist-get change :directory))
        (if (equal kinds '(unknown))
            ;; Maybe nothing has changed.
            (push change doubts)
          (mailsync-history--tell account change seen now))
        (unless (and (equal kinds '(unknown))
                     (mailsync-history-folder-changed known))
          (setf (mailsync-history-folder-changed known) seen
                (mailsync-history-folder-kinds known) kinds
                (mailsync-history-folder-origins known)
                (plist-get change :origins)))))
    (if (nthcdr mailsync-history--many doubts)
        (mailsync-history--tell-many account doubts now)
      (dolist (change (nreverse doubts))
        (mailsync-history--tell account change
                                (or (plist-get change :seen) now) now)))
    (mailsync-history--news keys)))

(defun mailsync-history--tell (account change seen now)
  "A story of CHANGE in ACCOUNT begins, SEEN then, and told NOW."
  (let ((story (mailsync-history--make-story
                :account account
                :folder (plist-get change :folder)
                :directory (plist-get change :directory)
                :truename (plist-get change :truename)
                :count 1 :changes (list change)
                :kinds (plist-get change :kinds)
                :origins (plist-get change :origins)
                :seen seen :told now)))
    (mailsync-history--keep-story story)))

(defun mailsync-history--tell-many (account changes now)
  "One story of CHANGES in ACCOUNT begins, which are told NOW."
  (let* ((origins (seq-uniq (mapcan (lambda (change)
                                      (copy-sequence
                                       (plist-get change :origins)))
                                    changes)))
         (story (mailsync-history--make-story
                 :account account :count (length changes) :changes changes
                 :kinds '(unknown) :origins origins
                 :seen (apply #'min (mapcar (lambda (change)
                                              (or (plist-get change :seen) now))
                                            changes))
                 :told now)))
    (mailsync-history--keep-story story)))

(defun mailsync-history-checked (account changes results)
  "The check of CHANGES of ACCOUNT is over, with RESULTS.
Those are an alist from names of folders to symbols."
  (let* ((now (float-time))
         (table (and (nthcdr mailsync-history--many results)
                     (make-hash-table :test #'equal :size (length results))))
         keys)
    (when table
      (pcase-dolist (`(,folder . ,result) results)
        (puthash folder result table)))
    (dolist (change changes)
      (let* ((key (cons account (plist-get change :truename)))
             (result (if table (gethash (plist-get change :folder) table)
                       (cdr (assoc (plist-get change :folder) results))))
             (known (gethash key mailsync-history--folders))
             (story (gethash change mailsync-history--of-changes)))
        (when known
          (push key keys)
          (setf (mailsync-history-folder-checked known) now
                (mailsync-history-folder-result known) result)
          (when (and (memq 'folder-deleted (plist-get change :kinds))
                     (not (memq 'folder-created (plist-get change :kinds))))
            (remhash key mailsync-history--folders)))
        (when story
          (remhash change mailsync-history--of-changes)
          (setf (mailsync-history-story-changes story) nil
                (mailsync-history-story-checked story) now)
          ;; Of many, what went wrong with one is said.
          (unless (and (mailsync-history-story-result story)
                       (memq result '(nil checked no-group)))
            (setf (mailsync-history-story-result story) result)))))
    (mailsync-history--news keys)))

(defun mailsync-history-synced (account result total)
  "A sync of ACCOUNT over TOTAL folders (0: everything) has ended with RESULT.
That is a plist as `mailsync-after-sync-functions' get it."
  (let* ((status (plist-get result :status))
         (started (float-time (plist-get result :started)))
         (ended (+ started (plist-get result :duration)))
         (all (zerop total))
         (names (make-hash-table :test #'equal)))
    (dolist (name (plist-get result :folders))
      (puthash name t names)
      (puthash (cons account name) (cons ended status)
               mailsync-history--syncs))
    (when all
      (puthash account (cons ended status) mailsync-history--accounts)
      (mailsync-history--forget mailsync-history--syncs
                                (lambda (key) (equal (car key) account))))
    (dolist (story (mailsync-history-stories))
      (when (and (equal (mailsync-history-story-account story) account)
                 (not (mailsync-history-story-synced story))
                 (<= (mailsync-history-story-seen story) started)
                 (mailsync-history-to-sync-p story)
                 (or all (gethash (mailsync-history-story-folder story) names)))
        (setf (mailsync-history-story-status story) status)
        (when (memq status '(ok partial))
          (setf (mailsync-history-story-synced story) ended))))
    (run-hook-with-args 'mailsync-history-sync-functions account
                        (and (not all) names))))

(defun mailsync-history-to-sync-p (story)
  "Non-nil if STORY is of a change that a syncer may have to see to."
  ;; What the syncer has written itself is on the server already.
  (and (not (equal (mailsync-history-story-origins story) '(sync)))
       (not (equal (mailsync-history-story-kinds story) '(unknown)))))

(defun mailsync-history--news (keys)
  "There is news of folders with these KEYS."
  (when keys
    (run-hook-with-args 'mailsync-history-functions keys)))

(defun mailsync-history--forget (table which)
  "Take the keys out of TABLE of which WHICH holds."
  (dolist (key (hash-table-keys table))
    (when (funcall which key)
      (remhash key table))))

(defun mailsync-history-cut-off ()
  "What was to be checked will not be."
  (clrhash mailsync-history--of-changes))

(defun mailsync-history-keep (accounts)
  "Forget everything but stories and what is of ACCOUNTS, names."
  (let ((over (lambda (key) (not (member (car (ensure-list key)) accounts)))))
    (mailsync-history--forget mailsync-history--folders over)
    (mailsync-history--forget mailsync-history--syncs over)
    (mailsync-history--forget mailsync-history--accounts over)))

;;;; In words

(defun mailsync-history-clock (time &optional precisely)
  "TIME, a float, by the clock; its date if that is not today.
PRECISELY adds milliseconds."
  (cond
   (precisely (format-time-string "%T.%3N" time))
   ((equal (format-time-string "%F" time) (format-time-string "%F"))
    (format-time-string "%T" time))
   (t (format-time-string "%F" time))))

(defun mailsync-history-kinds (kinds)
  "KINDS of a change in words."
  (if kinds
      (mapconcat (lambda (kind)
                   (pcase kind
                     ('folder-created "created")
                     ('folder-deleted "deleted")
                     ('unknown "anything")
                     (_ (symbol-name kind))))
                 kinds "+")
    ""))

(defun mailsync-history-origins (origins)
  "ORIGINS of a change in words."
  (mapconcat (lambda (origin)
               (pcase origin
                 ('local "here")
                 ('sync "syncer")
                 ('remote "server")))
             origins "+"))

(defun mailsync-history-result (result)
  "RESULT of a check in words, in at most 8 characters."
  (pcase result
    ('checked "checked")
    ('no-group "no group")
    ('not-running "no Gnus")
    ('failed "failed")
    (_ "done")))

(defun mailsync-history--after (story time)
  "How long after STORY was noticed TIME came, in words."
  (format "+%.2f s" (max 0 (- time (mailsync-history-story-seen story)))))

(defun mailsync-history-tell (story)
  "STORY in a sentence."
  (let ((checked (mailsync-history-story-checked story))
        (synced (mailsync-history-story-synced story))
        (status (mailsync-history-story-status story)))
    (concat
     (mailsync-history-story-account story) ": "
     (if-let ((folder (mailsync-history-story-folder story)))
         (mailsync-log-clean folder t)
       (mailsync-history-many (mailsync-history-story-count story)))
     ": " (mailsync-history-kinds (mailsync-history-story-kinds story))
     " (" (mailsync-history-origins (mailsync-history-story-origins story))
     "), seen " (mailsync-history-clock (mailsync-history-story-seen story) t)
     ", told Gnus " (mailsync-history--after
                     story (mailsync-history-story-told story))
     (if (null checked)
         ", waits for its check"
       (concat ", " (pcase (mailsync-history-story-result story)
                      ('checked "checked")
                      ('no-group "without a group")
                      ('not-running "while Gnus was off")
                      ('failed "its check failed")
                      (_ "answered"))
               " " (mailsync-history--after story checked)))
     (cond
      (synced (concat ", synced " (mailsync-history--after story synced)))
      (status (format ", its sync failed (%s)" status))
      (t "")))))

(defun mailsync-history-many (count)
  "COUNT folders, in words."
  (format "(%d folders)" count))

(provide 'mailsync-history)
;;; mailsync-history.el ends here
